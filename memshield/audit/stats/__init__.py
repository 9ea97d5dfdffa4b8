"""Statistics of an audit: arrays in, numbers out."""
