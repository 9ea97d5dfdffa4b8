"""MemShield: fine-tune diffusion models that give less of their training pictures back."""

import logging

__version__ = "0.3.0.dev0"

# Pipelines log the part of a prompt that they cut off, and prompts are captions of the dataset:
# in whatever process of this package they run, nothing of theirs below an error is logged.
logging.getLogger("diffusers.pipelines").setLevel(logging.ERROR)
