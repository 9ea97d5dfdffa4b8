"""What is typed beside a run, read in words."""

from __future__ import annotations

from typing import Any

import pytest

from memshield.config.file import make_config
from memshield.errors import UserError
from memshield.training.failures import explain
from memshield.ui.runs.text_inputs import parse_settings, parse_share, parse_whole, unique_texts


@pytest.mark.parametrize(
    ("text", "share"),
    [("0.02", 0.02), (" 2 % ", 0.02), ("2%", 0.02), ("0,5", 0.5), ("0", 0), ("1", 1), ("100 %", 1),
     ("", None), ("  ", None), (None, None), (0.25, 0.25), ("1e-3", 0.001)],
)  # fmt: skip
def test_a_share(text: Any, share: float | None) -> None:
    found = parse_share(text, "Budget")
    assert found == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a lot", "'a lot' is not a number"),
        ("-0.1", "must be from 0 to 1, is '-0.1'"),
        ("1.01", "must be from 0 to 1"),
        ("101 %", "must be from 0 to 1"),
        ("nan", "must be from 0 to 1"),
        ("inf", "must be from 0 to 1"),
        ("%", "is not a number"),
        ([1], "is not a number"),
        ({}, "is not a number"),
        (True, "is not a number"),
        ("9" * 10_000, "must be from 0 to 1, is '9999"),
    ],
)
def test_what_is_no_share(text: Any, words: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_share(text, "Budget")
    assert words in str(refused.value)
    assert len(str(refused.value)) < 200


def test_a_whole_number() -> None:
    typed: list[tuple[Any, int | None]] = [
        ("40", 40), (" 40 ", 40), (40, 40), ("-1", -1), ("", None), (None, None)
    ]  # fmt: skip
    assert [parse_whole(text, "Pictures") for text, _ in typed] == [number for _, number in typed]


@pytest.mark.parametrize(
    "text", ["1.5", "4e2", "four", "\u0664", "--1", "9" * 5000, [], {}, 1.5, True]
)
def test_what_is_no_whole_number(text: Any) -> None:
    with pytest.raises(UserError, match="is not a whole number"):
        parse_whole(text, "Pictures")


def test_texts() -> None:
    assert unique_texts(["a", "b", "a", 1, None, {}]) == ["a", "b"]
    odd: list[Any] = [None, "abc", 5, {"a": 1}]
    assert [unique_texts(one) for one in odd] == [[]] * 4


def test_settings() -> None:
    """As one types them, and as the advice of a run that is out of memory shows them."""
    text = """
      1. gradient_checkpointing: true  # activations a fifth, a third slower
      2. train_batch_size: 8, gradient_accumulation_steps: 2  # half the activations
    # learning_rate: 1
    learning_rate: 0.001
    memorization budget: null
    validation_prompts: [a cat, "a dog: big"]
    """
    assert parse_settings(text, "Settings") == {
        "gradient_checkpointing": True,
        "train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "learning_rate": 0.001,
        "memorization_budget": None,
        "validation_prompts": ["a cat", "a dog: big"],
    }


def test_every_advice_can_be_pasted() -> None:
    config = make_config({
        "pretrained_model_name_or_path": "a/b", "dataset_name": "c/d", "training": "full",
        "mixed_precision": "no", "resolution": 512, "shard_optimizer": "keep",
    })  # fmt: skip
    reason = explain(MemoryError(), config).reason
    advice = "\n".join(line for line in reason.splitlines() if ". " in line and "#" in line)
    for name, value in (found := parse_settings(advice, "Settings")).items():
        make_config({**config.model_dump(), name: value})
    assert len(found) >= 7


@pytest.mark.parametrize(
    "text",
    [
        "fast", "fast:", "1: 2", "a: [", "a: ]", "}", "} {", "a: !!python/x 1", "a: 2026-13-45",
        "[" * 500, "a: " + "[" * 500, "a: x" * 500, [1], 7, "? a",
    ],
)  # fmt: skip
def test_what_is_no_setting(text: Any) -> None:
    with pytest.raises(UserError) as refused:
        parse_settings(text, "Settings")
    assert "is not a setting" in str(refused.value)
    assert len(str(refused.value)) < 250


def test_no_settings_and_too_many() -> None:
    for text in ("", None, "  \n# a: 1"):
        with pytest.raises(UserError, match="is empty"):
            parse_settings(text, "Settings")
    with pytest.raises(UserError, match="has 51 lines"):
        parse_settings("a: 1\n" * 51, "Settings")
