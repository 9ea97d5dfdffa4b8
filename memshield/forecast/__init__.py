"""The forecast of a training: its steps, time, memory and price."""
