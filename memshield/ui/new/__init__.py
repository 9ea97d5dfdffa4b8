"""The tab for a new training."""
