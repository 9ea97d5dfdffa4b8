"""Prompts of every kind, and their changes."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from memshield.audit.prompts import KINDS, choose_prompts, perturb
from memshield.errors import UserError

CAPTIONS, FRESH = ["a cat", "", "a dog on a mat", " a bird "], ["one fish", "two fish"]
TRAIN, HELD = {"a cat", "a dog on a mat", "a bird"}, {"one fish", "two fish"}


def chosen(kind: str, count: int, seed: int = 0) -> list[str]:
    return choose_prompts(kind, CAPTIONS, FRESH, count, seed)


@pytest.mark.parametrize(("kind", "captions"), [("train", TRAIN), ("held_out", HELD)])
def test_captions_come_equally_often_in_a_drawn_order(kind: str, captions: set[str]) -> None:
    found = chosen(kind, 4 * len(captions))
    assert Counter(found) == dict.fromkeys(captions, 4)
    assert found[: len(captions)] * 4 == found
    assert set(chosen(kind, len(captions))) == captions
    assert chosen(kind, 3) == found[:3]
    assert {tuple(chosen(kind, len(captions), seed)) for seed in range(30)} > {
        tuple(found[: len(captions)])
    }


def test_perturbed_captions_are_training_captions_with_a_change() -> None:
    plain, found = chosen("train", 60), chosen("perturbed", 60)
    assert chosen("perturbed", 60) == found
    assert chosen("perturbed", 20) == found[:20]
    assert chosen("perturbed", 60, seed=1) != found
    vocabulary = {word for caption in TRAIN for word in caption.split()}
    for before, after in zip(plain, found, strict=True):
        assert after != before
        assert set(after.split()) <= vocabulary
        assert abs(len(after.split()) - len(before.split())) <= 1
    # The same caption is changed in different ways.
    assert len(set(found)) > 10


def test_lines_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("\ufefffirst, with ä comma\r\n\n  second  \n", encoding="utf-8")
    assert chosen(str(path), 5) == ["first, with ä comma", "second"] * 2 + ["first, with ä comma"]
    assert chosen(str(path), 0) == []
    monkeypatch.setenv("HOME", str(tmp_path))
    assert chosen("~/prompts.txt", 1, seed=3) == ["first, with ä comma"]


def test_files_that_are_refused(tmp_path: Path) -> None:
    empty, other = tmp_path / "empty.txt", tmp_path / "picture.png"
    empty.write_text("\n  \n")
    other.write_bytes(b"\x89PNG\xff\xfe")
    problems = {
        empty: "holds no line",
        other: "is not UTF-8 text",
        tmp_path / "missing": "cannot read",
        tmp_path: "cannot read",
    }
    for path, problem in problems.items():
        with pytest.raises(UserError, match=problem) as caught:
            chosen(str(path), 3)
        assert str(path) in caught.value.problem
        assert all(kind in caught.value.remedy for kind in KINDS)
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "validation"])
def test_no_captions_are_refused(kind: str) -> None:
    what = "held-out" if kind == "held_out" else "training"
    with pytest.raises(UserError, match=f"no {what} picture has a caption"):
        choose_prompts(kind, [""], ["  "], 3, 0)
    with pytest.raises(UserError, match=f"there are no {what} pictures"):
        choose_prompts(kind, [], [], 3, 0)


@pytest.mark.parametrize("prompt", ["a", "a a", "a b", " ".join("ab" * 12), " ".join("a" * 30)])
@pytest.mark.parametrize("vocabulary", [["a"], ["a", "b"]])
def test_perturbing_always_changes_something(prompt: str, vocabulary: list[str]) -> None:
    """Of few words, changes undo each other now and then."""
    for seed in range(1500):
        first, second = (perturb(prompt, vocabulary, np.random.default_rng(seed)) for _ in range(2))
        assert first == second
        assert first.split()
        assert first != prompt


def test_every_ten_words_are_changed_once() -> None:
    words = [f"w{i}" for i in range(30)]
    for seed in range(200):
        found = perturb(" ".join(words), ["new"], np.random.default_rng(seed)).split()
        lost = len(set(words) - set(found))
        assert 1 <= lost + found.count("new") <= 6
        assert found.count("new") <= 3
        assert lost <= 3
        assert [word for word in found if word != "new"] == [w for w in words if w in found]


def test_validation_prompts_come_in_their_order_again_and_again() -> None:
    prompts = choose_prompts("validation", ["a caption"], [], 5, 0, ["one", "two"])
    assert prompts == ["one", "two", "one", "two", "one"]
    with pytest.raises(UserError, match="validation_prompts: the run has none"):
        choose_prompts("validation", ["a caption"], [], 5, 0)
