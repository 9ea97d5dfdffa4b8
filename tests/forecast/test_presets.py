"""Presets by the memory of a GPU: what they set, what wins over them, and that they fit."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memshield import train
from memshield.__main__ import main
from memshield.config.file import Config, make_config
from memshield.config.memory import contradiction
from memshield.config.schema import MethodSettings
from memshield.data.examples import Examples
from memshield.families.facts import read_facts
from memshield.families.size import network_parameters
from memshield.forecast.memory import Sizes, peak_memory
from memshield.forecast.plan import memory_of
from memshield.forecast.presets import PRESETS, settings_of, with_preset
from tests.bench.published import MODELS, family_of, recipe_of
from tests.bench.true_sizes import sizes_of
from tests.refusals import refusal_of
from tests.tiny import image_folder, unet_config
from tests.tiny_flow import flux_pipeline, qwen_image_pipeline

LORAS = [name for name in MODELS if recipe_of(name).training == "lora"]
FITTING = [(p, name) for p in PRESETS for name in LORAS if family_of(name) in PRESETS[p]]
RECIPE = "configs/flux-dev-lora.yaml"
refusal = partial(refusal_of, with_preset)


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(flux_pipeline(tmp_path_factory.mktemp("flux") / "model"))


def asked(model: str, preset: str, **flags: Any) -> dict[str, Any]:
    named = {"pretrained_model_name_or_path": model, "resolution": 16}
    return {"config": RECIPE, "preset": preset, **named, **flags}


@pytest.mark.parametrize("batch", [None, 16, 12, 7])
@pytest.mark.parametrize(("preset", "name"), FITTING)
def test_a_preset_fits_its_gpu_and_changes_no_sample(
    preset: str, name: str, batch: int | None
) -> None:
    """In a recipe, and in settings of one's own, whose batch is 16 by default."""
    before = recipe_of(name)
    if batch is not None:
        before = before.model_copy(update={"train_batch_size": batch})
    after = before.model_copy(update=settings_of(preset, family_of(name), before))
    peak = peak_memory(after, sizes_of(name, after, int(after.resolution or 0)))
    assert peak <= int(preset.removesuffix("gb")) * 1e9
    assert contradiction(after) is None
    assert samples(after) == samples(before)
    kept = (*MethodSettings.model_fields, "resolution", "learning_rate", "num_train_epochs", "rank")
    assert all(getattr(after, setting) == getattr(before, setting) for setting in kept)


def samples(config: Config) -> int:
    return config.train_batch_size * config.gradient_accumulation_steps


def test_a_missing_preset_would_not_fit() -> None:
    """Neither way to hold the base makes room for what has no cell in the table."""
    for preset in PRESETS:
        for name in (name for name in LORAS if family_of(name) not in PRESETS[preset]):
            least = recipe_of(name).model_copy(
                update={"train_batch_size": 1, "enable_group_offload": True}
            )
            peak = peak_memory(least, sizes_of(name, least, 1024))
            assert peak > int(preset.removesuffix("gb")) * 1e9


def test_the_preset_wins_over_the_file_and_flags_over_the_preset(flux: str) -> None:
    config, words = with_preset(asked(flux, "16gb"))
    assert (config.base_quantization, config.train_batch_size) == ("nf4", 1)
    assert config.gradient_accumulation_steps == 4
    assert words == (
        "16gb sets mixed_precision: bf16, gradient_checkpointing: true, base_quantization: nf4, "
        "train_batch_size: 1, gradient_accumulation_steps: 4"
    )
    config, words = with_preset(asked(flux, "80gb"))
    assert config.gradient_checkpointing is False
    assert "gradient_checkpointing: false" in str(words)
    config, _ = with_preset(asked(flux, "16gb", train_batch_size="4", mixed_precision="fp16"))
    assert (config.train_batch_size, config.gradient_accumulation_steps) == (4, 2)
    assert (config.mixed_precision, config.base_quantization) == ("fp16", "nf4")
    config, _ = with_preset(asked(flux, "16gb", enable_layerwise_casting="true"))
    assert config.base_quantization is None, "the base is held in one way"


def test_what_a_preset_cannot_do(flux: str, tmp_path: Path) -> None:
    said = refusal(asked(flux, "8gb"))
    assert said.startswith("--preset: unknown preset '8gb'")
    assert "12gb, 16gb, 24gb, 80gb" in said
    assert "training is full" in refusal(asked(flux, "24gb", training="full"))
    said = refusal(asked(str(qwen_image_pipeline(tmp_path / "qwen")), "12gb"))
    assert "more memory than 12gb" in said
    assert "24gb, 80gb" in said
    pixels = {"model_config_name_or_path": str(unet_config(tmp_path)), "dataset_name": "a/b"}
    assert "pixel models" in refusal({"preset": "12gb", **pixels})
    file = tmp_path / "settings.yaml"
    file.write_text("preset: 12gb\n")
    assert "on the command line" in refusal({"config": str(file)})


def test_the_plan_counts_latents_not_the_patches_of_a_transformer(flux: str) -> None:
    values = {"resolution": 1024, "train_batch_size": 1, "cache_latents": False}
    named = {"pretrained_model_name_or_path": flux, "dataset_name": "a/b", "training": "lora"}
    config = make_config({**named, **values})
    facts = read_facts(config)
    none, words = np.zeros(0, np.int64), np.zeros(0, np.str_)
    examples = Examples(none, words, words, none, none, none, none, none)
    latent = 2 ** (len(facts.vae["block_out_channels"]) - 1)
    sizes = Sizes("flux", network_parameters(facts), (1024 / latent) ** 2, True, False, False)
    assert memory_of(config, facts, examples) == pytest.approx(
        peak_memory(config, sizes._replace(has_gpu=torch.cuda.is_available()))
    )


def test_the_plan_shows_what_the_preset_sets(
    flux: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = image_folder(tmp_path / "pictures", 40, 16)
    words = ["--pretrained_model_name_or_path", flux, "--train_data_dir", str(pictures)]
    words += ["--resolution", "16", "--num_shards", "1", "--training", "lora", "--rank", "4"]
    assert main(["plan", *words, "--preset", "12gb", "--train_batch_size", "2"]) == 0
    said = capsys.readouterr().out
    assert "preset        12gb sets mixed_precision: bf16" in said
    assert "with enable_group_offload, gradient_checkpointing" in said


def test_training_shows_what_the_preset_sets(
    flux: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said first; the start is then refused, because a file is in the way."""
    (tmp_path / "run").write_text("")
    words = ["--config", RECIPE, "--pretrained_model_name_or_path", flux, "--resolution", "16"]
    assert train.main([*words, "--preset", "12gb", "--output_dir", str(tmp_path / "run")]) == 2
    assert "Preset 12gb sets mixed_precision: bf16" in caplog.text
