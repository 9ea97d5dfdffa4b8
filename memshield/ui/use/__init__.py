"""The tab of published models."""
