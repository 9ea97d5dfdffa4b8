"""The advanced section."""

from __future__ import annotations

from typing import Any

import pytest

from memshield.config.file import fields, make_config
from memshield.errors import UserErrors
from memshield.ui.form.advanced import NOT_OFFERED, advanced_fields, parse_advanced
from memshield.ui.form.recipes import recipes

SD = recipes()["sd_lora"]
BY_NAME = {field.name: field for field in advanced_fields(SD)}


def test_all_settings_are_offered_but_those_that_a_page_must_not() -> None:
    assert set(BY_NAME) == set(fields()) - NOT_OFFERED
    assert {"output_dir", "report_to", "resume_from_checkpoint", "train_data_dir"} <= NOT_OFFERED
    assert all(field.description.endswith((".", ";")) and field.group for field in BY_NAME.values())
    assert [field.name for field in advanced_fields(SD)] == [n for n in fields() if n in BY_NAME]


def test_kinds_options_and_bounds() -> None:
    assert BY_NAME["lr_scheduler"].kind == "choice" and "cosine" in BY_NAME["lr_scheduler"].options
    assert (BY_NAME["training"].kind, BY_NAME["training"].optional) == ("choice", True)
    assert (BY_NAME["rank"].kind, BY_NAME["rank"].least, BY_NAME["rank"].most) == ("int", 1, 1024)
    rate = BY_NAME["learning_rate"]
    assert (rate.kind, rate.least, rate.above, rate.most, rate.below) == (
        "float", 0, True, 10, False,
    )  # fmt: skip
    assert BY_NAME["ema_decay"].below
    assert (BY_NAME["use_ema"].kind, BY_NAME["cache_latents"].optional) == ("bool", True)
    assert BY_NAME["validation_prompts"].kind == "list"
    assert BY_NAME["revision"].kind == "text"


def test_inputs_show_the_recipes_values() -> None:
    assert (BY_NAME["rank"].default, BY_NAME["random_flip"].default) == (16, True)
    assert BY_NAME["adam_beta1"].default == 0.9


def test_text_becomes_values_and_what_is_unchanged_is_left_out() -> None:
    given = {
        "rank": "8", "learning_rate": " 1e-5 ", "random_flip": False, "use_ema": "true",
        "validation_prompts": "a fox\n\n an owl ", "mixed_precision": "no", "snr_gamma": "",
        "center_crop": True, "seed": "", "training": "lora", "adam_beta1": 0.9, "revision": " ",
    }  # fmt: skip
    found = parse_advanced(given, SD)
    assert found == {
        "rank": 8, "learning_rate": 1e-5, "random_flip": False, "use_ema": True,
        "validation_prompts": ["a fox", "an owl"], "mixed_precision": "no", "snr_gamma": None,
    }  # fmt: skip
    assert parse_advanced(found, SD) == found
    make_config({"pretrained_model_name_or_path": "a/b", "dataset_name": "a/b", **found})


@pytest.mark.parametrize(
    "name, value",
    [
        ("rank", "8.5"), ("rank", "0"), ("rank", True), ("rank", [1]), ("rank", {}),
        ("learning_rate", "nan"), ("learning_rate", "inf"), ("learning_rate", "0"),
        ("use_ema", "perhaps"), ("use_ema", 3.5), ("seed", str(2**63)), ("seed", "9" * 5000),
        ("mixed_precision", "fp8"), ("mixed_precision", ["no"]), ("revision", "a\nb"),
        ("revision", "a" * 3000), ("revision", 7), ("validation_prompts", 7),
        ("validation_prompts", [1]), ("validation_prompts", "x\n" * 100),
        ("dataloader_num_workers", 10_000), ("ema_decay", 1),
        ("output_dir", "/tmp"), ("hub_model_id", "a/b"), ("model_config_name_or_path", "/etc"),
        ("__class__", "x"), (7, "x"),
    ],
)  # fmt: skip
def test_wrong_values_are_named(name: Any, value: Any) -> None:
    with pytest.raises(UserErrors) as caught:
        parse_advanced({name: value, "lora_alpha": "many"}, SD)
    assert [error.field for error in caught.value.errors] == [str(name), "lora_alpha"]
    assert all(len(str(error)) < 500 for error in caught.value.errors)
