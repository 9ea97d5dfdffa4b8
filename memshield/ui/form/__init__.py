"""The form of a new training as data: its inputs, their problems, the config."""
