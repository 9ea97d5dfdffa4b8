"""The command line: a flag for every setting, flags over YAML, refusals in plain words."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from memshield.config.file import Config, fields
from memshield.config.flags import config_parser, parse_config
from tests.refusals import refusal_of

ROOT = Path(__file__).parents[2]
NEEDED = ("--pretrained_model_name_or_path", "some/model", "--dataset_name", "some/set")


def parse(*words: str) -> Config:
    return parse_config("prog", [*NEEDED, *words], "A description.")


refusal = partial(refusal_of, parse)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(
        "learning_rate: 1e-4\nrank: 8\nrandom_flip: true\nvalidation_prompt: from the file\n"
        "snr_gamma: 5\n"
    )
    return path


def test_flags_carry_values_of_every_type() -> None:
    config = parse(
        "--rank", "8", "--learning_rate=1e-3", "--training", "lora", "--revision", "main",
        "--validation_prompts", "a cat", "a dog",
    )  # fmt: skip
    assert (config.rank, config.learning_rate, config.training) == (8, 1e-3, "lora")
    assert config.revision == "main"
    assert config.validation_prompts == ["a cat", "a dog"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), False),
        (("--random_flip",), True),
        (("--random_flip", "true"), True),
        (("--random_flip", "false"), False),
        (("--random_flip=False",), False),
        (("--random_flip", "--use_ema"), True),
    ],
)
def test_switches_are_bare_or_have_a_value(words: tuple[str, ...], expected: bool) -> None:
    assert parse(*words).random_flip is expected


def test_a_switch_may_be_none_where_the_model_decides() -> None:
    assert parse("--cache_latents").cache_latents is True
    assert parse("--cache_latents", "none").cache_latents is None


def test_the_file_is_read_and_flags_win(settings: Path) -> None:
    config = parse("--config", str(settings))
    assert (config.learning_rate, config.rank, config.random_flip) == (1e-4, 8, True)
    assert config.validation_prompts == ["from the file"]
    config = parse("--config", str(settings), "--rank", "2", "--random_flip", "false")
    assert (config.learning_rate, config.rank, config.random_flip) == (1e-4, 2, False)


@pytest.mark.parametrize("flag", ["--validation_prompt", "--validation_prompts"])
def test_prompts_on_the_command_line_replace_those_of_the_file(settings: Path, flag: str) -> None:
    config = parse("--config", str(settings), flag, "a", "b")
    assert config.validation_prompts == ["a", "b"]


@pytest.mark.parametrize(
    ("flag", "other", "rest"),
    [
        ("train_data_dir", "dataset_name", {"pretrained_model_name_or_path": "a/model"}),
        ("dataset_name", "train_data_dir", {"pretrained_model_name_or_path": "a/model"}),
        ("pretrained_model_name_or_path", "model_config_name_or_path", {"dataset_name": "a/set"}),
        ("model_config_name_or_path", "pretrained_model_name_or_path", {"dataset_name": "a/set"}),
    ],
)
def test_a_flag_takes_the_place_of_what_excludes_it_in_the_file(
    tmp_path: Path, flag: str, other: str, rest: dict[str, str]
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("".join(f"{name}: {value}\n" for name, value in {other: "x", **rest}.items()))
    config = parse_config("prog", ["--config", str(path), f"--{flag}", "y"], "A description.")
    assert (getattr(config, flag), getattr(config, other)) == ("y", None)
    words = ["--config", str(path), f"--{flag}", "y", f"--{other}", "z"]
    said = refusal_of(parse_config, "prog", words, "A description.")
    assert "are both given" in said
    kept = parse_config("prog", ["--config", str(path), f"--{flag}", "none"], "A description.")
    assert getattr(kept, other) == "x"


@pytest.mark.parametrize("word", ["none", "null", "None"])
def test_none_takes_a_setting_back(settings: Path, word: str) -> None:
    assert parse("--config", str(settings), "--snr_gamma", word).snr_gamma is None
    assert parse(f"--revision={word}").revision is None
    assert parse("--training", word).training is None


@pytest.mark.parametrize("word", ["none", "null"])
def test_none_takes_a_list_back(settings: Path, word: str) -> None:
    config = parse("--config", str(settings), "--validation_prompts", word, "--report_to", word)
    assert config.validation_prompts is None
    assert config.report_to is None


def test_none_is_a_value_where_it_is_a_choice() -> None:
    assert parse("--weighting_scheme", "none").weighting_scheme == "none"
    assert parse("--weighting_scheme", "null").weighting_scheme is None


def test_none_is_refused_where_a_value_is_needed() -> None:
    assert refusal("--rank", "none").startswith("rank: ")


# Refusals


def test_an_unknown_flag_is_refused_with_the_nearest_right_one() -> None:
    said = refusal("--learnin_rate", "1e-3")
    assert said.startswith("learnin_rate: unknown setting")
    assert "Did you mean learning_rate?" in said
    assert "Did you mean num_shards?" in refusal("--num-shards=3")


def test_all_unknown_flags_are_told_at_once() -> None:
    said = refusal("--num_shard", "2", "--num_round=3")
    assert "num_shard:" in said
    assert "num_round:" in said


def test_flags_are_not_abbreviated() -> None:
    assert refusal("--num_sha", "3").startswith("num_sha: unknown setting")


def test_unknown_names_in_the_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("num_shard: 2\n")
    said = refusal("--config", str(tmp_path / "settings.yaml"))
    assert "Did you mean num_shards?" in said


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("--push_to_hub", "hub_model_id"),
        ("--hub_token=hf_x", "HF_TOKEN"),
        ("--enable_xformers_memory_efficient_attention", "scaled_dot_product_attention"),
        ("--checkpointing_epochs=1", "checkpointing_steps"),
    ],
)
def test_flags_of_diffusers_that_are_no_settings_are_explained(flag: str, hint: str) -> None:
    assert hint in refusal(flag)


def test_a_file_of_a_user_that_there_is_not_is_refused() -> None:
    said = refusal("--config", "~no-such-user/settings.yaml")
    assert said.startswith("--config: cannot read ~no-such-user/settings.yaml")


def test_wrong_values_and_choices_are_refused() -> None:
    assert refusal("--rank", "many").startswith("rank: ")
    said = refusal("--lr_scheduler", "cosin")
    assert "'cosine'" in said
    assert "is 'cosin'" in said


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("stray",), "unexpected 'stray'"),
        (("--random_flip", "false", "stray"), "unexpected 'stray'"),
        (("--rank",), "--rank: expected one argument"),
        (("--validation_prompts",), "expected at least one argument"),
    ],
)
def test_words_that_do_not_fit_are_refused(words: tuple[str, ...], problem: str) -> None:
    said = refusal(*words)
    assert said.startswith("command line: ")
    assert problem in said


# Help


def test_every_setting_has_a_flag_with_its_description() -> None:
    words = " ".join(config_parser("prog", "A description.").format_help().split())
    for name, field in fields().items():
        assert f"--{name} " in words, name
        assert " ".join(str(field.description).split()) in words, name
    assert "[0.0001]" in words
    assert "stratified|random|contiguous" in words


@pytest.mark.process
def test_help_comes_without_torch() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "memshield.train", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "--skip_threshold" in done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in lines}
    assert "memshield" in imported
    heavy = {"torch", "diffusers", "transformers", "accelerate", "datasets", "scipy", "sklearn"}
    assert not heavy & imported
