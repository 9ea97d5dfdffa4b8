"""The last look at a folder, and the pictures that may be shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from safetensors.numpy import save_file

from memshield.audit.report import IMAGES, IMAGES_RECORD, PRIVATE, AuditedModel, Report
from memshield.config.file import make_config
from memshield.errors import UserError
from memshield.hub.allowed_files import is_allowed, is_inside
from memshield.hub.content_check import problems_of
from memshield.hub.model_index import read_index
from memshield.hub.publish.assemble import _require_clean
from memshield.hub.publish.gallery import COUNT, write_gallery
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


def test_where_pictures_lay_is_not_told_when_they_are_gone(folder: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    config = make_config({"train_data_dir": "/srv/ada/set", "output_dir": str(run.path),
                          "pretrained_model_name_or_path": "a/tmp"})  # fmt: skip
    _require_clean(folder, run, config)
    with (folder / "README.md").open("a") as card:
        card.write("Trained on /srv/ada/set.")
    with pytest.raises(UserError, match="names a folder of this machine"):
        _require_clean(folder, run, config)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("README.md", f"token {SHAPED}", "looks like a token"),
        ("memshield.json", '{"x": "/home/ada/pictures"}', "names a folder"),
        ("memshield.json", '{"x": "/root/x"}', "names a folder"),
        ("memshield.json", '{"x": "C:\\\\Users\\\\ada"}', "names a folder"),
        ("memshield.json", '{"x": "the place of the run"}', "names a folder"),
        ("memshield.json", '{"x": ["/data/acme/set"]}', "holds a path of a machine"),
        ("unet/config.json", '{"auto_map": {"AutoModel": "x.Y"}}', "would have its own code run"),
        ("unet/config.json", "{", "is not valid JSON"),
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
    problems = problems_of(folder, ("the place of the run",))
    assert all(problem.startswith(f"{name}: ") for problem in problems)
    assert words in "\n".join(problems)
    assert SHAPED not in "\n".join(problems)


@pytest.mark.parametrize("home", ["/root", "/home/ada"])
def test_a_vocabulary_may_hold_what_looks_like_a_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setenv("HOME", home)
    pieces = ["~/", "\\\\", "/root", "/home/ada", "://"]
    (folder / "tokenizer").mkdir()
    for name, values in (
        ("vocab.json", dict(zip(pieces, range(5), strict=True))),
        ("tokenizer.json", {"model": {"merges": pieces}}),
    ):
        (folder / "tokenizer" / name).write_text(json.dumps(values))
    (folder / "tokenizer/merges.txt").write_text("\n".join(pieces))
    assert problems_of(folder) == []
    (folder / "tokenizer/vocab.json").write_text(json.dumps({SHAPED: 0}))
    assert "looks like a token" in problems_of(folder)[0]
    (folder / "tokenizer/vocab.json").unlink()
    (folder / "tokenizer/tokenizer_config.json").write_text(json.dumps({"name": f"{home}/base"}))
    assert problems_of(folder) == [
        f"tokenizer/tokenizer_config.json: {words}"
        for words in ("names a folder of this machine", "holds a path of a machine")
    ]


def test_a_private_word_inside_another_is_not_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/root")
    (folder / "README.md").write_text("See https://example.org/root and ~/roots.")
    assert problems_of(folder) == []
    (folder / "README.md").write_text("It was in (/root).")
    assert problems_of(folder) == ["README.md: names a folder of this machine"]


def test_weights_that_hold_more_than_weights(folder: Path) -> None:
    path = folder / "pytorch_lora_weights.safetensors"
    data = path.read_bytes()
    path.write_bytes(data + b"a zip file could follow")
    assert "more than its tensors" in problems_of(folder)[0]
    save_file({"x": np.zeros(4, np.float32)}, path, metadata={"from": "/home/ada/x"})
    assert "more than its tensors in its metadata" in problems_of(folder)[0]
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
    record = {"done": count, "seed": 0, "steps": 50, "broken": [count - 1]}
    (audit / IMAGES_RECORD).write_text(json.dumps(record))
    pairs = [
        {"generated": i, "training": 0, "ratio": 0.1 + i / 100, "beyond": i < beyond,
         "mirrored": False}
        for i in range(suspicious)
    ]  # fmt: skip
    values = {"images": record, "pairs": pairs, "beyond": list(range(beyond))}
    (audit / PRIVATE).write_text(json.dumps(values))
    return run


def report_on(count: int, excess: float | None = 0.3, **changes: Any) -> Report:
    report = report_of(excess, 0.5, **changes)
    return report.model_copy(
        update={"generated": report.generated.model_copy(update={"count": count})}
    )


def shown(folder: Path) -> list[int]:
    found = sorted((folder / "samples").glob("*.png"))
    return [int(np.asarray(Image.open(path))[0, 0]) for path in found]


def test_suspicious_pictures_are_never_shown(tmp_path: Path) -> None:
    run = audited(tmp_path, 120, 100, 40)
    (tmp_path / "out").mkdir()
    paths = write_gallery(run, report_on(120), tmp_path / "out")
    assert len(paths) == COUNT
    assert min(shown(tmp_path / "out")) >= 100
    assert 119 not in shown(tmp_path / "out")


def test_of_a_small_audit_the_nearer_half_is_left_out(tmp_path: Path) -> None:
    run = audited(tmp_path, 12, 11, 2, round=3)
    (tmp_path / "out").mkdir()
    report = report_on(12, target=AuditedModel(name="x", kind="run", round=3))
    assert write_gallery(run, report, tmp_path / "out")
    assert set(shown(tmp_path / "out")) == {6, 7, 8, 9, 10}


def test_without_a_threshold_or_an_audit_nothing_is_shown(tmp_path: Path) -> None:
    run = audited(tmp_path, 120, 100, 0)
    assert write_gallery(run, report_on(120, None), tmp_path) == {}
    assert write_gallery(run, None, tmp_path) == {}


def test_copies_beyond_those_that_are_listed_are_not_shown(tmp_path: Path) -> None:
    run = audited(tmp_path, 120, 100, 110)
    (tmp_path / "out").mkdir()
    assert write_gallery(run, report_on(120), tmp_path / "out")
    assert set(shown(tmp_path / "out")) == set(range(110, 118))
    run = audited(tmp_path / "all", 120, 100, 120)
    assert write_gallery(run, report_on(120), tmp_path / "all") == {}


def test_pictures_that_were_not_examined_are_not_shown(tmp_path: Path) -> None:
    run = audited(tmp_path, 120, 100, 0)
    (tmp_path / "out").mkdir()
    record = run.audit_of(None) / IMAGES_RECORD
    told = json.loads(record.read_text())
    for change in ({"done": 3}, {"seed": 7}, {"prompts": "others"}):
        record.write_text(json.dumps({**told, **change}))
        assert write_gallery(run, report_on(120), tmp_path / "out") == {}
    record.unlink()
    assert write_gallery(run, report_on(120), tmp_path / "out") == {}


def test_nothing_is_shown_where_another_measure_finds_copies(tmp_path: Path) -> None:
    run = audited(tmp_path, 120, 100, 0)
    report = report_on(120)
    copies = report.headline.model_copy(update={"space": "SSCD", "excess_interval": (0.01, 0.1)})
    both = report.model_copy(update={"memorization": (report.headline, copies)})
    assert write_gallery(run, both, tmp_path) == {}


def test_settings_of_a_pipeline_are_none_of_its_parts() -> None:
    index = {"_class_name": "Krea2Pipeline", "vae": ["diffusers", "AutoencoderKLQwenImage"]}
    for layers in ([2, 5], [2, 5, 8]):
        text = json.dumps({**index, "text_encoder_select_layers": layers})
        assert read_index(text) == ("Krea2Pipeline", ("vae",))
    for odd in (["x", "Y"], [2, "Y"], [[2]], [None, "Y"]):
        with pytest.raises(ValueError, match="code of another library for more"):
            read_index(json.dumps({**index, "more": odd}))
