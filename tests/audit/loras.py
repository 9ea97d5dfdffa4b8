"""A LoRA as another trainer would have made it, without training one."""

from __future__ import annotations

from pathlib import Path

import torch

from memshield.config.file import make_config
from memshield.families import load, read_facts, resolve
from memshield.families.base import Placement

CARD = "---\nlicense: mit\nbase_model:\n- {base}\n---\n# A LoRA\n"


def made_lora(base: Path, folder: Path, named: str | None = None) -> Path:
    """A folder with a LoRA of random weights, and a card that names its base."""
    config = make_config(
        {
            "training": "lora",
            "pretrained_model_name_or_path": str(base),
            "dataset_name": "sklearn:digits",
        }
    )
    facts = read_facts(config)
    config = resolve(config, facts)
    family = load(config, facts, Placement.of(config, torch.device("cpu")))
    generator = torch.Generator().manual_seed(0)
    for weight in family.trainable().values():
        weight.data.normal_(0, 0.3, generator=generator)
    folder.mkdir(parents=True)
    family.save(folder)
    if named is not None:
        (folder / "README.md").write_text(CARD.format(base=named))
    return folder
