"""Claims made up for tests of what reads them."""

from __future__ import annotations

from typing import Any

from memshield import __version__
from memshield.hub.catalog.license import License
from memshield.hub.manifest import Base, Dataset, Manifest, Training
from tests.audit.reports import report_of


def manifest_of(**changes: Any) -> Manifest:
    """A LoRA with an audit."""
    values: dict[str, Any] = {
        "memshield": __version__,
        "pipeline_class": "StableDiffusionPipeline",
        "text": True,
        "license": License("mit"),
        "base": Base(name="lab/tiny-sd", revision="0123456789abcdef0123456789abcdef01234567"),
        "dataset": Dataset(name="ada/pictures", revision=None, on_hub=True),
        "training": Training(
            kind="lora", resolution=512, pictures=100, steps=10,
            settings={"num_shards": 4, "num_rounds": 2, "skip_threshold": 0.8},
        ),
        "audit": report_of(0.1, 0.5),
        "files": {"pytorch_lora_weights.safetensors": "0" * 64},
    }  # fmt: skip
    return Manifest(**{**values, **changes})
