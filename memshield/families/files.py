"""Which files of a pipeline's repository training fetches."""

from __future__ import annotations

from memshield.config.file import Config
from memshield.families.facts import Facts

# The rest, such as a safety checker, is needed only to write a whole pipeline again.
_NEEDED = ("unet", "vae", "text_encoder", "tokenizer")


def training_files(config: Config, facts: Facts) -> list[str]:
    """Paths in `facts.repository`, or patterns of them where its files are not known.

    A replacement VAE comes from a repository of its own and is not among them.

    Args:
        config: resolved settings.
        facts: of a model that is not trained from scratch.
    """
    assert facts.repository is not None
    if not facts.components:
        return facts.repository.component_files("unet", config.variant)
    files = ["model_index.json"]
    for part in facts.components:
        replaced = part == "vae" and facts.vae_repository is not None
        if not replaced and (config.training != "lora" or part.startswith(_NEEDED)):
            files += facts.repository.component_files(part, config.variant)
    return files
