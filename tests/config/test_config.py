"""The schema: what it accepts, what it refuses, and in which words."""

from __future__ import annotations

import math
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from memshield.config.file import (
    GROUPS,
    NOT_SETTINGS,
    Config,
    cache_root,
    differing_fields,
    fields,
    make_config,
    may_differ_on_resume,
    read_yaml,
    to_yaml,
)
from memshield.errors import UserError
from tests.refusals import refusal_of

ROOT = Path(__file__).parents[2]
NEEDED = {"pretrained_model_name_or_path": "some/model", "dataset_name": "some/set"}


def config(**changes: Any) -> Config:
    return make_config({**NEEDED, **changes})


refusal = partial(refusal_of, config)


def from_yaml(folder: Path, text: str) -> Config:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return make_config({**NEEDED, **read_yaml(path)})


# Names


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("learnin_rate", "learning_rate"),
        ("num_shard", "num_shards"),
        ("skip_treshold", "skip_threshold"),
        ("lr_schedular", "lr_scheduler"),
        ("validation_promt", "validation_prompt"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_right_one(wrong: str, right: str) -> None:
    said = refusal(**{wrong: 1})
    assert said.startswith(f"{wrong}: unknown setting")
    assert f"Did you mean {right}" in said


def test_a_name_like_no_other_points_to_the_help() -> None:
    assert "--help" in refusal(zzzzzz=1)


@pytest.mark.parametrize("name", NOT_SETTINGS)
def test_flags_of_diffusers_that_are_no_settings_say_what_takes_their_place(name: str) -> None:
    said = refusal(**{name: "x"})
    assert NOT_SETTINGS[name] in said
    assert "Did you mean" not in said
    assert name not in fields()


def test_a_token_is_never_repeated() -> None:
    assert "hf_secret" not in refusal(hub_token="hf_secret")


# Several problems at once


def test_all_unknown_names_are_told_at_once() -> None:
    said = refusal(num_shard=2, num_round=3)
    assert "num_shard:" in said
    assert "num_round:" in said


def test_all_broken_rules_are_told_at_once() -> None:
    said = refusal(rank=0, seed=-1, lr_scheduler="cosin")
    for name in ("rank:", "seed:", "lr_scheduler:"):
        assert name in said


def test_all_contradictions_are_told_at_once() -> None:
    said = refusal(lr_warmup_steps=10, max_train_steps=5, report_to=["foo"])
    assert "lr_warmup_steps: 10 is more than max_train_steps 5" in said
    assert "report_to: unknown tracker 'foo'" in said


# Values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank", 0),
        ("rank", 1025),
        ("rank", 4.5),
        ("lora_alpha", 0),
        ("lora_dropout", 1),
        ("ddpm_num_steps", 1),
        ("max_train_samples", 0),
        ("resolution", 3),
        ("proportion_empty_prompts", 1.1),
        ("held_out_fraction", 0.95),
        ("held_out_fraction", -0.1),
        ("duplicate_distance", 0.6),
        ("num_shards", 0),
        ("num_rounds", 0),
        ("skip_threshold", -0.1),
        ("skip_threshold", 1.1),
        ("loss_ema_decay", 1),
        ("loss_bank_bins", 0),
        ("seed", -1),
        ("seed", 2**63),
        ("train_batch_size", 0),
        ("num_train_epochs", 0),
        ("max_train_steps", 0),
        ("gradient_accumulation_steps", 0),
        ("learning_rate", 0),
        ("learning_rate", math.nan),
        ("learning_rate", "fast"),
        ("lr_warmup_steps", -1),
        ("adam_beta1", 1),
        ("adam_epsilon", 0),
        ("max_grad_norm", 0),
        ("snr_gamma", 0),
        ("ema_decay", 1),
        ("checkpointing_steps", 0),
        ("checkpoints_total_limit", 0),
        ("num_validation_images", -1),
        ("output_dir", ""),
        ("random_flip", "perhaps"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name_and_value(name: str, value: object) -> None:
    said = refusal(**{name: value})
    assert said.startswith(f"{name}: ")
    assert repr(value) in said
    assert str(fields()[name].description) in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("skip_threshold", 0),
        ("skip_threshold", 1),
        ("held_out_fraction", 0),
        ("held_out_fraction", 0.9),
        ("proportion_empty_prompts", 1),
        ("num_shards", 1),
        ("seed", 2**63 - 1),
        ("loss_ema_decay", 0),
        ("num_validation_images", 0),
        ("duplicate_distance", 0),
    ],
)
def test_the_ends_of_a_range_are_accepted(name: str, value: float) -> None:
    assert getattr(config(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "wrong", "choices"),
    [
        ("training", "dora", ("full", "lora")),
        ("duplicates", "keep", ("same_shard", "spread", "drop")),
        ("shard_strategy", "sorted", ("stratified", "random", "contiguous")),
        ("aggregate_weights", "median", ("size", "uniform")),
        ("mixed_precision", "fp8", ("no", "fp16", "bf16")),
        ("prediction_type", "sample", ("epsilon", "v_prediction")),
    ],
)
def test_a_wrong_choice_is_refused_with_the_right_ones(
    name: str, wrong: str, choices: tuple[str, ...]
) -> None:
    said = refusal(**{name: wrong})
    assert repr(wrong) in said
    for choice in choices:
        assert repr(choice) in said
        assert getattr(config(**{name: choice}), name) == choice


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("pretrained_model_name_or_path", "model_config_name_or_path"),
        ("dataset_name", "train_data_dir"),
    ],
)
def test_one_model_and_one_dataset_are_needed(first: str, second: str, both: bool) -> None:
    said = refusal(**{first: "x", second: "y"} if both else {first: None})
    given = f"it and {second} are both given" if both else f"exactly one of it and {second} is"
    assert said.startswith(f"{first}: {given}")


@pytest.mark.parametrize(
    "name", ["train_data_dir", "model_config_name_or_path", "pretrained_vae_model_name_or_path"]
)
def test_a_name_is_not_empty(name: str) -> None:
    assert f"{name}: must not be empty" in refusal(**{name: ""})


def test_a_part_that_does_not_matter_need_not_be_named() -> None:
    assert make_config({"train_data_dir": "x"}, without=["model"]).train_data_dir == "x"
    assert make_config({}, without=["model", "dataset"]).dataset_name is None
    with pytest.raises(UserError, match="dataset_name: exactly one"):
        make_config({}, without=["model"])
    with pytest.raises(UserError, match="dataset_name: it and train_data_dir are both given"):
        make_config({"dataset_name": "x", "train_data_dir": "y"}, without=["model", "dataset"])


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        config().rank = 8


# Prompts and trackers


def test_validation_prompt_is_another_name_for_validation_prompts() -> None:
    assert config(validation_prompt="a cat").validation_prompts == ["a cat"]
    assert config(validation_prompt=["a", "b"]).validation_prompts == ["a", "b"]
    assert config(validation_prompts="a cat").validation_prompts == ["a cat"]
    assert config(validation_prompts=["a", "b"]).validation_prompts == ["a", "b"]


def test_both_names_at_once_are_refused() -> None:
    assert "validation_prompt" in refusal(validation_prompt="a", validation_prompts=["b"])


@pytest.mark.parametrize("name", ["validation_prompt", "validation_prompts"])
@pytest.mark.parametrize("value", [5, [5], ["a", 5]])
def test_prompts_that_are_no_text_are_refused(name: str, value: object) -> None:
    assert refusal(**{name: value}).startswith("validation_prompt")


def test_one_tracker_makes_a_list() -> None:
    assert config(report_to="trackio").report_to == ["trackio"]
    assert "tensorboard, trackio, wandb" in refusal(report_to="mlflow")


# YAML


def test_yaml_takes_numbers_as_people_write_them(tmp_path: Path) -> None:
    # YAML 1.1 reads 1e-4, without a point, as text.
    read = from_yaml(tmp_path, "learning_rate: 1e-4\nadam_epsilon: 1.0e-8\nseed: 7\n")
    assert read.learning_rate == 1e-4
    assert read.adam_epsilon == 1e-8
    assert read.seed == 7


def test_yaml_takes_several_prompts_and_null(tmp_path: Path) -> None:
    read = from_yaml(tmp_path, "validation_prompt:\n- a cat\n- 'a: dog'\nsnr_gamma: null\n")
    assert read.validation_prompts == ["a cat", "a: dog"]
    assert read.snr_gamma is None


def test_a_bare_no_in_yaml_is_the_precision_of_that_name(tmp_path: Path) -> None:
    # YAML 1.1 reads it as false.
    assert from_yaml(tmp_path, "mixed_precision: no\n").mixed_precision == "no"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"rank: [1\n", "not valid YAML"),
        (b"- rank\n", "holds no mapping"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"rank: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        (b"dataset_revision: 2024-13-45\n", "not valid YAML"),
        (b"revision: 0b_\n", "not valid YAML"),
    ],
)
def test_files_that_hold_no_settings_are_refused(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=problem) as caught:
        read_yaml(path)
    assert caught.value.field == "--config"


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read_yaml(tmp_path / "missing.yaml")
    with pytest.raises(UserError, match="Is a directory"):
        read_yaml(tmp_path)


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text("num_shards: 4\nseed: 1\nnum_shards: 2\n")
    with pytest.raises(UserError, match="num_shards stands there twice"):
        read_yaml(tmp_path / "twice.yaml")


def test_merged_mappings_are_read(tmp_path: Path) -> None:
    (tmp_path / "merged.yaml").write_text("<<: {resolution: 64, seed: 2}\nseed: 1\n")
    assert read_yaml(tmp_path / "merged.yaml") == {"resolution": 64, "seed": 1}


def test_an_empty_file_holds_no_settings(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "settings.yaml") == {}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "validation_prompts": ["Ünïcode: a #1 'cat'", "no", "1e-4", ""],
            "revision": "0123456",
            "output_dir": "a folder/ü",
            "learning_rate": 1e-7,
            "adam_epsilon": 1.2345678901234567e-9,
            "skip_threshold": 0.0,
            "mixed_precision": "no",
            "report_to": ["wandb", "trackio"],
            "seed": 2**63 - 1,
            "random_flip": True,
            "cache_latents": False,
            "resume_from_checkpoint": "checkpoint-10",
        },
    ],
)
def test_a_config_written_as_yaml_reads_back_the_same(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    before = config(**changes)
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(before), encoding="utf-8")
    assert make_config(read_yaml(path)) == before


def test_the_yaml_holds_every_setting_in_the_order_of_the_groups() -> None:
    written = to_yaml(config())
    assert list(yaml.safe_load(written)) == list(fields())
    assert [line for line in written.splitlines() if line.startswith("# ")] == [
        f"# {group.__doc__}" for group in GROUPS
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_the_recipes_are_valid(path: Path) -> None:
    assert make_config(read_yaml(path))


# Resuming


def test_only_settings_that_shape_the_result_count_as_different() -> None:
    old = config()
    assert differing_fields(old, old) == []
    free = config(output_dir="x", checkpointing_steps=7, num_inference_steps=5, report_to="wandb")
    assert differing_fields(free, old) == []
    new = config(output_dir="x", num_shards=2, seed=1, learning_rate=1e-3)
    assert differing_fields(new, old) == ["num_shards", "seed", "learning_rate"]


def test_what_may_differ_on_resume() -> None:
    assert {name for name in fields() if may_differ_on_resume(name)} == {
        "dataloader_num_workers",
        "gradient_checkpointing",
        "allow_tf32",
        "channels_last",
        "torch_compile",
        "enable_group_offload",
        "shard_optimizer_offload",
        "output_dir",
        "checkpointing_steps",
        "checkpoints_total_limit",
        "resume_from_checkpoint",
        "validation_prompts",
        "num_validation_images",
        "num_inference_steps",
        "report_to",
        "audit_every_rounds",
        "memorization_budget",
        "audit_num_images",
        "push_to_hub",
        "hub_model_id",
        "hub_private_repo",
        "hub_license",
        "hub_lora_format",
        "hub_confirm",
    }


# The schema itself


def test_every_setting_is_described_in_one_sentence() -> None:
    for name, field in fields().items():
        text = field.description or ""
        assert text.endswith("."), name
        assert ". " not in text, name


def test_every_setting_stands_in_one_group() -> None:
    names = [name for group in GROUPS for name in group.model_fields]
    assert len(names) == len(set(names))
    assert set(names) == set(Config.model_fields)


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    monkeypatch.setenv("MEMSHIELD_CACHE", "/mine")
    assert cache_root() == Path("/mine")
    monkeypatch.delenv("MEMSHIELD_CACHE")
    assert cache_root() == Path("/elsewhere/memshield")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "memshield"


@pytest.mark.process
def test_plain_modules_import_no_torch() -> None:
    modules = (
        "memshield.config.file, memshield.config.flags, memshield.rundir, memshield.step_budget"
    )
    code = f"import sys, {modules}, memshield.families; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
