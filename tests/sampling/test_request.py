"""What is asked for, whatever was given; and the words that say it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memshield.errors import UserError, UserErrors
from memshield.sampling.request import (
    ON_PAGE,
    ImageRequest,
    SampleArguments,
    make_request,
    parse_arguments,
)


def test_every_prompt_has_the_same_seeds() -> None:
    request = make_request([" a  cat ", "", "a dog", "a cat"], 2, 10.0, 5)
    assert request == ImageRequest(("a cat", "a dog"), 2, 10, 5)
    assert request.total == 4
    assert request.pictures() == [(5, "a cat"), (6, "a cat"), (5, "a dog"), (6, "a dog")]
    assert make_request([], 2, 1, 0).pictures() == [(0, None), (1, None)]


@pytest.mark.parametrize("value", [None, "", "4", [4], {}, True, 2.5, float("nan"), float("inf"),
                                   0, -1, pytest.param(10**5000, id="long"), 1e300])  # fmt: skip
def test_odd_numbers_are_refused_in_words(value: Any) -> None:
    for name in ("num_images", "steps"):
        given = {"num_images": 1, "steps": 1, "seed": 0, name: value}
        with pytest.raises(UserError, match=r"must be"):
            make_request([], **given, limits=ON_PAGE)
    if value != 0:
        with pytest.raises(UserError, match=r"seed: must be"):
            make_request([], 1, 1, value)


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ([3], "must be text"),
        (["a\0b"], "characters that cannot be written"),
        (["\ud800"], "characters that cannot be written"),
        (["x" * 1001], "has 1,001 characters"),
        ([str(i) for i in range(9)], "9 are more than the 8"),
        (["a", "b", "c"], "6 of each of 3 prompts are 18 pictures, and 16 are the most"),
    ],
)
def test_odd_prompts_are_refused_in_words(prompts: list[object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_request(prompts, 6, 1, 0, ON_PAGE)


def test_a_million_wrong_lines_are_one_problem() -> None:
    with pytest.raises(UserErrors) as refused:
        make_request(["\x01"] * 10**6, 1, 1, 0, ON_PAGE)
    assert len(refused.value.errors) == 1


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(UserError) as caught:
        make_request(["\0"], 0, 999, -1, ON_PAGE)
    assert all(name in str(caught.value)
               for name in ("prompt:", "num_images:", "num_inference_steps:", "seed:"))  # fmt: skip


def test_prompts_must_fit_the_model() -> None:
    ImageRequest(("a cat",)).require_fits(text=True)
    ImageRequest().require_fits(text=False)
    with pytest.raises(UserError, match="draws what words say"):
        ImageRequest().require_fits(text=True)
    with pytest.raises(UserError, match="draws without words"):
        ImageRequest(("a cat",)).require_fits(text=False)


def test_words_say_what_was_asked_for() -> None:
    prompts = ("--output_dir=/x", "none", "-1", "ein „Hund“ 🐕", "a=b, 'c'")
    arguments = SampleArguments(
        "ada/x", ImageRequest(prompts, 2, 3, 4), "0" * 40, None, Path("/run"), "lab/base", None,
        Path("/made"), False,
    )  # fmt: skip
    assert parse_arguments(arguments.words()) == arguments
    assert parse_arguments(["runs/demo"]) == SampleArguments(
        "runs/demo", ImageRequest(), output=Path("samples.png").absolute()
    )
    assert parse_arguments(["x/y", "--prompt", "a", "--prompt", "b"]).request.num_images == 4
