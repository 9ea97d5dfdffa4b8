"""The tab of a new training."""
