"""The tab for published models."""
