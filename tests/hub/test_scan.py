"""The last look at a folder, and the pictures that may be shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from safetensors.numpy import save_file

from memshield.audit.report import IMAGES, IMAGES_RECORD, PRIVATE, Target
from memshield.hub.contents import is_allowed, is_inside
from memshield.hub.gallery import COUNT, write_gallery
from memshield.hub.scan import problems_of
from memshield.rundir import RunDir
from tests.audit.reports import report_of

SHAPED = "hf_" + "a1B2" * 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clean folder."""
    made = tmp_path / "clean"
    (made / "samples").mkdir(parents=True)
    save_file({"x": np.zeros(4, np.float32)}, made / "pytorch_lora_weights.safetensors")
    Image.new("RGB", (4, 4)).save(made / "samples/0.png")
    (made / "README.md").write_text("# A card, see https://huggingface.co/tmp/x and a/tmp/b\n")
    return made


def test_a_clean_folder(folder: Path) -> None:
    assert problems_of(folder) == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("README.md", f"token {SHAPED}", "looks like a token"),
        ("memshield.json", '{"x": "/home/ada/pictures"}', "names a folder"),
        ("memshield.json", '{"x": "/root/x"}', "names a folder"),
        ("memshield.json", '{"x": "C:\\\\Users\\\\ada"}', "names a folder"),
        ("memshield.json", '{"x": "the place of the run"}', "names a folder"),
        ("notes.txt", "x", "is no file that is published"),
        ("examples.parquet", "x", "is no file that is published"),
        ("audit/private.json", "x", "is no file that is published"),
        ("unet/diffusion_pytorch_model.bin", "x", "is no file that is published"),
        ("unet/diffusion_pytorch_model.safetensors", "x", "is not a safetensors file"),
        ("samples/1.png", "x", "is not a PNG file"),
    ],
)
def test_what_is_found(folder: Path, name: str, text: str, words: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (problem,) = problems_of(folder, ("the place of the run",))
    assert problem.startswith(f"{name}: ")
    assert words in problem
    assert SHAPED not in problem


def test_weights_that_hold_more_than_weights(folder: Path) -> None:
    path = folder / "pytorch_lora_weights.safetensors"
    data = path.read_bytes()
    path.write_bytes(data + b"a zip file could follow")
    assert "more than its tensors" in problems_of(folder)[0]
    save_file({"x": np.zeros(4, np.float32)}, path, metadata={"from": "/home/ada/x"})
    assert "names a folder" in problems_of(folder)[0]
    path.write_bytes(b"\xff" * 8 + data)
    assert "is not a safetensors file" in problems_of(folder)[0]


def test_pictures_that_hold_more_than_pixels(folder: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("prompt", "a caption")
    Image.new("RGB", (4, 4)).save(folder / "samples/0.png", pnginfo=text)
    assert "more than its pixels" in problems_of(folder)[0]


def test_links_are_found(folder: Path) -> None:
    (folder / "memshield.json").symlink_to("/etc/hostname")
    assert problems_of(folder) == ["memshield.json: is a link"]


@pytest.mark.parametrize(
    "name",
    ["model_index.json", "unet/config.json", "tokenizer_2/merges.txt", "samples/3.png",
     "text_encoder/model-00001-of-00002.safetensors", "audit/report.html"],
)  # fmt: skip
def test_files_that_are_published(name: str) -> None:
    assert is_allowed(name)


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "events.jsonl", "unet/../x.json", "a/b/config.json", "unet/model.py",
     "samples/round-0001.png", "skips.parquet", "UNET/config.json", "unet/config.json\n",
     "audit/images.npy", ".env", "checkpoint-5/state.safetensors"],
)  # fmt: skip
def test_files_that_are_not(name: str) -> None:
    assert not is_allowed(name)


@pytest.mark.parametrize("name", ["../x", "a/../x", "/x", "a\\b", "a//b", "", "./a", "a\0b"])
def test_paths_that_lead_out(name: str) -> None:
    assert not is_inside(name)


def audited(
    tmp_path: Path, count: int, suspicious: int, beyond: int, round: int | None = None
) -> RunDir:
    """An audit whose pictures are told apart by their grey: picture i has the value i."""
    run = RunDir(tmp_path / "run")
    audit = run.audit_of(round)
    audit.mkdir(parents=True)
    images = np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 1, 8, 8)
    )
    np.save(audit / IMAGES, images)
    (audit / IMAGES_RECORD).write_text(json.dumps({"broken": [count - 1]}))
    pairs = [
        {"generated": i, "training": 0, "ratio": 0.1 + i / 100, "beyond": i < beyond,
         "mirrored": False}
        for i in range(suspicious)
    ]  # fmt: skip
    (audit / PRIVATE).write_text(json.dumps({"version": 1, "pairs": pairs, "at_risk": []}))
    return run


def shown(folder: Path) -> list[int]:
    found = sorted((folder / "samples").glob("*.png"))
    return [int(np.asarray(Image.open(path))[0, 0]) for path in found]


def test_suspicious_pictures_are_never_shown(tmp_path: Path) -> None:
    run = audited(tmp_path, 120, 100, 40)
    (tmp_path / "out").mkdir()
    paths = write_gallery(run, report_of(0.3, 0.5), tmp_path / "out")
    assert len(paths) == COUNT
    assert min(shown(tmp_path / "out")) >= 100
    assert 119 not in shown(tmp_path / "out")


def test_of_a_small_audit_the_nearer_half_is_left_out(tmp_path: Path) -> None:
    run = audited(tmp_path, 12, 11, 2, round=3)
    (tmp_path / "out").mkdir()
    report = report_of(0.3, 0.5, target=Target(name="x", kind="run", round=3))
    assert write_gallery(run, report, tmp_path / "out")
    assert set(shown(tmp_path / "out")) == {6, 7, 8, 9, 10}


def test_without_a_threshold_or_an_audit_nothing_is_shown(tmp_path: Path) -> None:
    run = audited(tmp_path, 120, 100, 0)
    assert write_gallery(run, report_of(None, 0.5), tmp_path) == ()
    assert write_gallery(run, None, tmp_path) == ()
