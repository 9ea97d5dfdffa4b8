"""Search and description of models and datasets on the Hub. No torch."""
