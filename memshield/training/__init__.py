"""Training: prepare, the loop and its steps, the method, checkpoints."""
