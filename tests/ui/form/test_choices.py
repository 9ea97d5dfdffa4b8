"""Recipes, and the config that follows from a form."""

from __future__ import annotations

from dataclasses import fields as attributes
from pathlib import Path
from typing import Any

import pytest
import yaml

from memshield.config.file import Config, fields, make_config
from memshield.config.mitigation import is_plain
from memshield.config.shipped import APP_ROOT
from memshield.data.source import SourceSettings, open_source
from memshield.families.kinds import TEXT_ENCODERS
from memshield.forecast.hardware import Gpu, Machine
from memshield.forecast.totals import numbers
from memshield.ui.form.advanced import parse_advanced
from memshield.ui.form.choices import INPUTS, Choices, on_this_machine, to_config, to_yaml
from memshield.ui.form.recipes import RecipeName, recipe_for, recipes
from memshield.ui.form.strengths import strength_of

NAMES: tuple[RecipeName, ...] = (
    "demo", "sd_lora", "sdxl_lora", "sd3_lora", "flux_lora", "z_image_lora", "qwen_image_lora",
    "flux2_klein_lora", "krea2_lora", "pixels", "pixels_from_scratch",
)  # fmt: skip


def chosen(name: RecipeName, **changes: Any) -> Choices:
    recipe = recipes()[name]
    model = {} if recipe.scratch else {"model": "an/example"}
    pictures = {} if recipe.rows else {"dataset": "some/pictures"}
    return Choices(**{"recipe": name, **model, **pictures, **changes})


def config_of(choices: Choices, rows: int | None = None, **more: Any) -> Config:
    return make_config(to_config(choices, rows, **more))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [None, 12, 700, 100_000])
def test_every_recipe_is_a_config_that_fits_its_pictures(
    name: RecipeName, rows: int | None
) -> None:
    config = config_of(chosen(name), rows)
    # Most draws are where a model of this kind memorizes least.
    assert config.timestep_bias_share == (0.8 if recipes()[name].captions else 0.1)
    if rows is not None:
        problems = numbers(config, rows).problems
        # 12 pictures are too few for some recipes' rounds, or to audit; never for their batch.
        assert all(error.field != "train_batch_size" for error in problems)
        assert rows == 12 or not problems


def test_recipes_come_from_the_files_of_the_paper_settings() -> None:
    file = yaml.safe_load((APP_ROOT / "configs/sdxl-lora.yaml").read_text())
    settings = recipes()["sdxl_lora"].settings
    assert settings["learning_rate"] == file["learning_rate"]
    assert settings["rank"] == file["rank"]
    assert "validation_prompts" not in settings and "output_dir" not in settings
    assert {recipe_for(family).family for family in TEXT_ENCODERS} == set(TEXT_ENCODERS)


def test_the_demo_needs_nobody_and_is_audited() -> None:
    config = make_config(on_this_machine(to_config(Choices(), recipes()["demo"].rows)))
    assert config.dataset_name == "sklearn:digits"
    assert Path(str(config.model_config_name_or_path)).is_absolute()
    assert len(open_source(SourceSettings.of(config), token=False)) == recipes()["demo"].rows
    found = numbers(config, 1797)
    assert (found.audits, found.audit_images, found.problems) == (3, 300, ())
    assert found.steps == 1516


def test_no_strength_is_plain_training() -> None:
    config = config_of(chosen("sd_lora", strength=0, shards=8), 1000)
    assert is_plain(config.model_dump())


@pytest.mark.parametrize("name", ["pixels", "sd_lora"])
def test_more_strength_draws_less_often_where_a_model_memorizes(name: RecipeName) -> None:
    steps = [i / 20 for i in range(1, 21)]
    found = [config_of(chosen(name, strength=strength)) for strength in steps]
    shares = [float(config.timestep_bias_share or 0) for config in found]
    captions = recipes()[name].captions
    # Low noise without captions, high noise with them.
    assert shares == sorted(shares, reverse=not captions)
    assert len(set(shares)) == 20
    assert shares[9] == recipes()[name].settings["timestep_bias_share"]
    assert [strength_of(share, captions) for share in shares] == steps
    assert strength_of(None, captions) == 0
    assert strength_of(0.4 if captions else 0.6, captions) == 0, "more than without a bias"
    assert strength_of(0.99 if captions else 0.01, captions) == 1
    assert {config.num_shards for config in found} == {recipes()[name].settings["num_shards"]}


@pytest.mark.parametrize(
    ("name", "value"),
    [("lr_warmup_steps", 0), ("mixed_precision", "bf16"), ("skip_threshold", 0.8)],
)
def test_what_is_typed_wins_where_it_is_the_recipes_too(name: str, value: Any) -> None:
    recipe = recipes()["sd_lora"]
    typed = parse_advanced({name: str(value)}, recipe)
    choices = chosen("sd_lora", advanced=typed, strength=0.0)
    assert to_config(choices, rows=200, machine=Machine((), 2, 2**34))[name] == value


def test_what_a_person_chooses_wins_and_advanced_wins_over_it() -> None:
    choices = chosen(
        "sd_lora", epochs=3, rounds=5, shards=2, budget=0.1, resolution=256, split="dev",
        caption_column="words", hub_model_id="me/mine", private=False, confirm=("license",),
        advanced={"learning_rate": 1e-5, "train_batch_size": 3, "num_rounds": 6},
    )  # fmt: skip
    config = config_of(choices, 500)
    assert (config.num_train_epochs, config.num_rounds, config.num_shards) == (3, 6, 2)
    assert (config.memorization_budget, config.resolution) == (0.1, 256)
    assert (config.dataset_split, config.caption_column) == ("dev", "words")
    assert (config.push_to_hub, config.hub_private_repo) == (True, False)
    assert config.hub_confirm == ["license"]
    assert (config.learning_rate, config.train_batch_size) == (1e-5, 3)


def test_warm_up_and_batch_follow_from_the_pictures() -> None:
    config = config_of(chosen("pixels_from_scratch"), 400)
    assert config.train_batch_size == 128
    shards = config_of(chosen("pixels_from_scratch", shards=4), 400)
    assert shards.train_batch_size == 64  # 90 pictures a shard, 128 in the recipe
    assert config.lr_warmup_steps == round(0.05 * 282)
    few = config_of(chosen("z_image_lora", shards=4), 12)  # three pictures a shard; batches of 4
    assert (few.train_batch_size, few.gradient_accumulation_steps) == (1, 2)
    assert config_of(chosen("pixels"), 50_000, resolution=256).train_batch_size == 4
    assert config_of(chosen("sd_lora"), 50_000, resolution=768).train_batch_size == 4


@pytest.mark.parametrize(
    "gpus, text, xl",
    [
        ((), "no", "no"),
        ((Gpu("Tesla T4", 16 * 2**30, False),), "fp16", "bf16"),
        ((Gpu("NVIDIA L4", 24 * 2**30, True),), "bf16", "bf16"),
    ],
)
def test_precision_follows_from_the_machine(gpus: tuple[Gpu, ...], text: str, xl: str) -> None:
    machine = Machine(gpus, 4, 2**34)
    assert config_of(chosen("sd_lora"), machine=machine).mixed_precision == text
    assert config_of(chosen("sdxl_lora"), machine=machine).mixed_precision == xl


@pytest.mark.parametrize("name", NAMES)
def test_the_yaml_is_the_same_config(name: RecipeName) -> None:
    choices = chosen(name, advanced={"validation_prompts": ["a: b # c", "günther\u2028"]})
    values = to_config(choices, 1000)
    text = to_yaml(choices, values)
    assert make_config(yaml.safe_load(text)) == make_config(values)
    assert "accelerate launch -m memshield.train --config FILE" in text
    assert str(APP_ROOT) not in text


def test_the_yaml_of_an_upload_names_no_path_of_the_server(tmp_path: Path) -> None:
    choices = Choices(folder=tmp_path / "uploads", uploaded=True)
    values = to_config(choices, 100)
    assert values["train_data_dir"] == str(tmp_path / "uploads")
    assert "dataset_name" not in values
    text = to_yaml(choices, values)
    assert str(tmp_path) not in text
    assert yaml.safe_load(text)["train_data_dir"] == "my-pictures"


def test_every_input_is_there() -> None:
    inputs = {attribute.name for attribute in attributes(Choices)} | {"sign_in"}
    assert set(INPUTS.values()) <= inputs
    assert set(INPUTS) - {"HF_TOKEN"} <= set(fields())
