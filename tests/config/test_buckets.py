"""The text of aspect buckets: what it says, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest
from diffusers.training_utils import generate_aspect_ratio_buckets, parse_buckets_string

from memshield.config.buckets import as_text, most_pixels, parse_sizes, sizes_of
from memshield.config.file import Config, make_config
from memshield.errors import UserErrors

NEEDED: dict[str, Any] = {"pretrained_model_name_or_path": "a/model", "dataset_name": "a/set"}


def config(text: str | None) -> Config:
    return make_config({**NEEDED, "aspect_ratio_buckets": text})


@pytest.mark.parametrize("text", ["512,512", " 512, 512;768 ,384 ", "1024,1024;832,1248;1248,832"])
def test_sizes_are_read_as_diffusers_reads_them(text: str) -> None:
    assert list(parse_sizes(text)) == parse_buckets_string(text)


def test_a_size_that_comes_twice_is_one_bucket() -> None:
    assert parse_sizes("8,8;16,8;8,8") == ((8, 8), (16, 8))


def test_sizes_are_written_as_they_are_read() -> None:
    sizes = tuple(generate_aspect_ratio_buckets(1024))
    assert parse_sizes(as_text(sizes)) == sizes


@pytest.mark.parametrize("text", [None, "auto", " auto "])
def test_without_sizes_the_square_counts(text: str | None) -> None:
    assert sizes_of(config(text)) == ()
    assert most_pixels(config(text), 512) == 512**2


def test_the_largest_bucket_counts() -> None:
    assert most_pixels(config("512,512;256,1280;640,384"), 512) == 256 * 1280


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("512", "'512' is no height,width"),
        ("512x512", "'512x512' is no height,width"),
        ("512,512;", "'' is no height,width"),
        ("", "must not be empty"),
        ("512,-512", "'512,-512' is no height,width"),
        ("512,512,3", "'512,512,3' is no height,width"),
        ("0,512", "0,512 has a side"),
        ("512,9000", "512,9000 has a side"),
        (";".join(f"8,{side}" for side in range(8, 300)), "292 sizes are more than 256"),
    ],
)
def test_other_text_is_refused_in_words(text: str, shown: str) -> None:
    with pytest.raises(UserErrors) as caught:
        config(text)
    (error,) = caught.value.errors
    assert error.field == "aspect_ratio_buckets"
    assert error.problem.startswith(shown)
