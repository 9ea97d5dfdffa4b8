"""Runs, read from their directories."""
