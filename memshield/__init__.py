"""MemShield: fine-tune diffusion models that give less of their training pictures back."""

__version__ = "0.2.0"
