"""The form of a new training as data: its inputs, their problems, and the config."""
