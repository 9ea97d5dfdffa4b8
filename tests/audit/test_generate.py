"""Sets of generated pictures: what is in them, what makes them others, and going on with them."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from memshield.audit.generate import GeneratedImages, generate, open_generated
from memshield.audit.report import IMAGES, IMAGES_RECORD
from memshield.errors import UserError
from memshield.families import latent, unconditional
from memshield.families.base import Family
from memshield.families.pixels import to_bytes
from memshield.randomness import Purpose, torch_seed
from tests.families import loaded
from tests.tiny import ddpm_pipeline

KINDS = ["pixels", "tiny_sd"]
COUNT = 10


class Stopped(Exception):
    """What ends a generation half-way."""


@pytest.fixture
def pixels(tmp_path: Path, captioned: Path, monkeypatch: pytest.MonkeyPatch) -> Family:
    """A grey pixel model that samples four pictures at once."""
    monkeypatch.setattr(unconditional, "_AT_MOST", 4)
    return loaded(ddpm_pipeline(tmp_path / "base"), captioned)


@pytest.fixture(params=KINDS)
def family(
    request: pytest.FixtureRequest, captioned: Path, monkeypatch: pytest.MonkeyPatch
) -> Family:
    """A model that samples four pictures at once."""
    if request.param == "pixels":
        found: Family = request.getfixturevalue("pixels")
        return found
    monkeypatch.setattr(latent, "_SAMPLED_AT_ONCE", 4 * 16**2)
    return loaded(request.getfixturevalue(request.param), captioned)


def prompts_for(family: Family, count: int = COUNT) -> list[str] | None:
    return None if not family.facts.needs_captions else [f"picture {i % 3}" for i in range(count)]


def made(family: Family, folder: Path, **changes: Any) -> tuple[GeneratedImages, list[int]]:
    """A set of ten pictures in two steps, and how far it was each time that it said so."""
    said: list[int] = []
    settings: dict[str, Any] = {
        "count": COUNT,
        "seed": 5,
        "prompts": prompts_for(family, changes.get("count", COUNT)),
        "steps": 2,
        **changes,
    }
    return generate(family, folder, progress=said.append, **settings), said


def stop_after(family: Family, folder: Path, limit: int, **changes: Any) -> None:
    """Begin the set of `made`, and end when so many pictures are done."""

    def progress(done: int) -> None:
        if done >= limit:
            raise Stopped

    with pytest.raises(Stopped):
        settings = {"count": COUNT, "seed": 5, "prompts": prompts_for(family), "steps": 2}
        generate(family, folder, progress=progress, **{**settings, **changes})


def values(found: GeneratedImages) -> npt.NDArray[np.uint8]:
    return found.images[:]


def change_weights(family: Family) -> None:
    """Other values in all that is trained."""
    with torch.no_grad():
        for parameter in family.trainable().values():
            parameter.add_(0.05)


def test_pictures_are_those_that_the_model_samples(family: Family, tmp_path: Path) -> None:
    found, said = made(family, tmp_path / "set")
    assert said == [4, 8, 10]
    prompts = prompts_for(family)
    seeds = [torch_seed(5, Purpose.GENERATE, place) for place in range(COUNT)]
    sampled = [
        family.sample(seeds[part], prompts and prompts[part], 2)
        for part in (slice(0, 4), slice(4, 8), slice(8, 10))
    ]
    expected = to_bytes(np.concatenate(sampled)).transpose(0, 3, 1, 2)
    assert found.images.shape == expected.shape
    np.testing.assert_array_equal(values(found), expected)
    assert len(found.broken) == 0
    assert len(np.unique(expected.reshape(COUNT, -1), axis=0)) == COUNT
    np.testing.assert_array_equal(values(open_generated(tmp_path / "set")), expected)


@pytest.mark.parametrize("limit", [1, 5, 10])
def test_a_stopped_set_is_finished_as_if_it_had_not_been(
    family: Family, tmp_path: Path, limit: int
) -> None:
    whole = values(made(family, tmp_path / "whole")[0])
    stop_after(family, tmp_path / "cut", limit)
    if limit < COUNT:
        with pytest.raises(UserError, match="holds no finished set"):
            open_generated(tmp_path / "cut")
    found, said = made(family, tmp_path / "cut")
    assert said == [done for done in (4, 8, 10) if done > -(-limit // 4) * 4]
    np.testing.assert_array_equal(values(found), whole)
    files = [(tmp_path / name / IMAGES).read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]
    assert made(family, tmp_path / "cut")[1] == []


def test_a_batch_that_was_written_but_not_noted_is_made_again(
    pixels: Family, tmp_path: Path
) -> None:
    """Killed between the pictures and the record."""
    whole = values(made(pixels, tmp_path)[0])
    record = json.loads((tmp_path / IMAGES_RECORD).read_text())
    (tmp_path / IMAGES_RECORD).write_text(json.dumps({**record, "done": 4}))
    found, said = made(pixels, tmp_path)
    assert said == [8, 10]
    np.testing.assert_array_equal(values(found), whole)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("change", [{"seed": 6}, {"count": 9}, {"steps": 3}, {}])
def test_another_set_is_begun_anew(
    pixels: Family, tmp_path: Path, change: dict[str, int], finished: bool
) -> None:
    """And another one it is if nothing but the weights has changed."""
    before = values(made(pixels, tmp_path / "set")[0])
    if not finished:
        shutil.rmtree(tmp_path / "set")
        stop_after(pixels, tmp_path / "set", 4)
    (tmp_path / "set/notes.txt").write_text("not ours")
    if not change:
        change_weights(pixels)
    found, said = made(pixels, tmp_path / "set", **change)
    count = change.get("count", COUNT)
    assert said == [4, 8, count]
    after = values(found)
    if "count" in change:
        np.testing.assert_allclose(after.astype(int), before[:count], atol=1)
    else:
        assert (after != before).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(after, values(made(pixels, tmp_path / "fresh", **change)[0]))
    assert (tmp_path / "set/notes.txt").read_text() == "not ours"


def test_other_prompts_are_another_set(tiny_sd: Path, captioned: Path, tmp_path: Path) -> None:
    family = loaded(tiny_sd, captioned)
    first = values(made(family, tmp_path)[0])
    second, said = made(family, tmp_path, prompts=["another"] * COUNT)
    assert said == [COUNT]
    values_of_second = values(second)
    assert (values_of_second != first).any(axis=(1, 2, 3)).all()
    change_weights(family)
    third, said = made(family, tmp_path, prompts=["another"] * COUNT)
    assert said == [COUNT]
    assert (values(third) != values_of_second).any()


def test_another_noise_process_or_vae_is_another_set(
    tiny_sd: Path, captioned: Path, tmp_path: Path
) -> None:
    """The weights that are trained are the same."""
    vae = shutil.copytree(tiny_sd / "vae", tmp_path / "vae")
    before = values(made(loaded(tiny_sd, captioned, training="full"), tmp_path / "set")[0])
    others: list[dict[str, Any]] = [
        {"prediction_type": "v_prediction"},
        {"pretrained_vae_model_name_or_path": str(vae)},
    ]
    for changes in others:
        other = loaded(tiny_sd, captioned, training="full", **changes)
        found, said = made(other, tmp_path / "set")
        assert said == [COUNT], changes
        assert (values(found) != before).any() == ("prediction_type" in changes)
        assert made(other, tmp_path / "set")[1] == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 0}', "null"])
def test_a_record_that_says_nothing_is_no_set(pixels: Family, tmp_path: Path, text: str) -> None:
    expected = values(made(pixels, tmp_path)[0])
    (tmp_path / IMAGES_RECORD).write_text(text)
    with pytest.raises(UserError, match="holds no finished set"):
        open_generated(tmp_path)
    found, said = made(pixels, tmp_path)
    assert said == [4, 8, 10]
    np.testing.assert_array_equal(values(found), expected)


def test_a_record_without_pictures_is_no_set(pixels: Family, tmp_path: Path) -> None:
    made(pixels, tmp_path)
    (tmp_path / IMAGES).unlink()
    with pytest.raises(UserError, match="holds no finished set"):
        open_generated(tmp_path)
    assert made(pixels, tmp_path)[1] == [4, 8, 10]


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_broken_pictures_are_counted_and_black(
    pixels: Family, tmp_path: Path, broken: float
) -> None:
    with torch.no_grad():
        pixels.trainable()["conv_out.bias"][0] = broken
    stop_after(pixels, tmp_path, 8)
    found, said = made(pixels, tmp_path)
    assert said == [10]
    assert found.broken.tolist() == list(range(COUNT))
    assert values(found).max() == 0


def test_broken_pictures_are_told_from_whole_ones(
    tiny_sd: Path, captioned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text encoder with a word that breaks the pictures of those prompts that hold it."""
    monkeypatch.setattr(latent, "_SAMPLED_AT_ONCE", 4 * 16**2)
    prompts = ["a cat", "zoo", "a dog", "a cat", "a cat", "a cat", "z", "a dog", "a cat", "zebra"]
    family: Any = loaded(tiny_sd, captioned)
    whole = values(made(family, tmp_path / "whole", prompts=prompts)[0])
    family = loaded(tiny_sd, captioned)  # which has encoded no prompt yet
    words = family._parts["tokenizer"](["z", "zoo"]).input_ids
    with torch.no_grad():
        for word in {words[0][1], words[1][1]}:
            family._parts["text_encoder"].get_input_embeddings().weight[word] = torch.nan
    stop_after(family, tmp_path / "set", 8, prompts=prompts)
    found, _ = made(family, tmp_path / "set", prompts=prompts)
    assert found.broken.tolist() == [1, 6, 9]
    expected = whole.copy()
    expected[found.broken] = 0
    np.testing.assert_array_equal(values(found), expected)


def test_a_set_of_none(pixels: Family, tmp_path: Path) -> None:
    found, said = made(pixels, tmp_path, count=0)
    assert said == []
    assert found.images.shape == (0, 1, 8, 8)
    assert values(found).shape == (0, 1, 8, 8)


def test_prompts_must_be_as_many_as_pictures(pixels: Family, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 prompts for 10 pictures"):
        made(pixels, tmp_path, prompts=["a"] * 3)
    assert list(tmp_path.glob("*.npy")) == []


def test_a_set_for_which_the_disk_has_no_room(pixels: Family, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pictures take .* TB, and .* are free"):
        made(pixels, tmp_path / "set", count=10**13, prompts=None)
    assert not list((tmp_path / "set").iterdir())


def test_what_a_full_disk_took_is_given_back(
    pixels: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        made(pixels, tmp_path / "set")
    assert not list((tmp_path / "set").iterdir())


def test_an_empty_folder_holds_no_set(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match="Generate it first"):
            open_generated(folder)
