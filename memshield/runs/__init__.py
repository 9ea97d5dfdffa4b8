"""Finished and running trainings, read from their directories."""
