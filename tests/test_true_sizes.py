"""Published models in their true sizes: the tables, and a step of a LoRA on two of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memshield.config.file import make_config
from memshield.forecast.estimate import MEMORY_FACTOR
from memshield.forecast.memory import ENCODERS, LORA, peak_memory
from tests.bench.common import RESULTS, ROOT
from tests.bench.published import MODELS, family_of, recipe_of
from tests.bench.true_sizes import (
    MEASURED,
    MEASURED_SIDE,
    lora_size,
    measure,
    parameters_of,
    preset_rows,
    rows,
    sizes_of,
)

PEAKS = json.loads((RESULTS / "true_sizes_cpu.json").read_text(encoding="utf-8"))["peak_bytes"]


@pytest.mark.parametrize("name", list(MODELS))
def test_the_weights_are_those_that_the_model_has(name: str) -> None:
    assert parameters_of(name) == MODELS[name]["parameters"]


def test_loras_of_the_usual_targets() -> None:
    """Four projections of two attentions in 16 blocks and in 70, of one in 34 and in 60."""
    assert lora_size("Stable Diffusion 1.5", 4) == (128, 797_184)
    assert lora_size("Stable Diffusion XL", 4).modules == 560
    assert lora_size("Z-Image", 4).modules == 34 * 4
    assert lora_size("Qwen-Image", 4).modules == 60 * 4
    assert lora_size("FLUX.2 klein base 4B", 4).modules == 5 * 4 + 20 * 2
    assert lora_size("Krea 2", 4).modules == (28 + 4) * 7 + 8
    assert (
        lora_size("Stable Diffusion XL", 16).weights
        == 4 * lora_size("Stable Diffusion XL", 4).weights
    )


@pytest.mark.parametrize("name", list(MODELS))
def test_the_estimate_knows_the_size_of_a_lora(name: str) -> None:
    assert lora_size(name, 4).weights == pytest.approx(4 * LORA[family_of(name)], rel=0.05)


def test_a_lora_of_a_high_rank_takes_memory_of_its_own() -> None:
    """At rank 256 FLUX.1's LoRA takes as much as its base in 4 bits: 0.7 billion weights."""
    before = recipe_of("FLUX.1-dev").model_copy(update={"base_quantization": "nf4"})
    sizes = sizes_of("FLUX.1-dev", before, 512)
    peaks = [peak_memory(before.model_copy(update={"rank": rank}), sizes) for rank in (4, 16, 256)]
    assert peaks[0] == peaks[1]
    assert peaks[2] - peaks[1] == pytest.approx(10.0e9, rel=0.02)


def test_the_tables_are_those_of_the_estimate() -> None:
    text = (ROOT / "configs/README.md").read_text(encoding="utf-8")
    assert "\n".join(rows(PEAKS)) in text
    assert "\n".join(preset_rows()) in text


@pytest.mark.parametrize("name", list(MEASURED))
def test_the_measured_peaks_are_within_the_estimate(name: str) -> None:
    settings = {"pretrained_model_name_or_path": "x", "train_data_dir": "y", "training": "lora"}
    config = make_config({**settings, "train_batch_size": 1, **MEASURED[name]})
    sizes = sizes_of(name, config, MEASURED_SIDE, has_gpu=False)
    # The encoders of what was measured are small.
    width = 2 if config.mixed_precision == "bf16" else 4
    expected = peak_memory(config, sizes) - width * ENCODERS[sizes.family]
    assert expected / MEMORY_FACTOR < PEAKS[name] < expected * MEMORY_FACTOR


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("name", list(MEASURED))
def test_a_step_of_a_lora_takes_the_memory_that_was_measured(tmp_path: Path, name: str) -> None:
    assert measure(name, tmp_path) == pytest.approx(PEAKS[name], rel=0.1)
