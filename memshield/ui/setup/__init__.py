"""What stands behind "Choose" and "Set up": plain values in and out, no gradio and no torch."""
