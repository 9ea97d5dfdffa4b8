"""MemShield: fine-tune diffusion models that give less of their training images back."""

__version__ = "0.2.0"
