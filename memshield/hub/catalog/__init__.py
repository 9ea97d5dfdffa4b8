"""Finding models and datasets on the Hub and telling what they are. Imports no torch."""
