"""The settings of a run: their schema, files and flags. Imports no torch."""
