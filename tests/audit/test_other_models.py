"""Models that were trained elsewhere: whole pipelines and LoRAs, with the pictures named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from memshield.audit.statements import base_among
from memshield.audit.subject import open_pipeline
from memshield.config.file import make_config
from memshield.errors import UserError
from memshield.families import read_facts
from tests.audit.loras import made_lora
from tests.audit.runs import command, refused, report_in
from tests.hub.conftest import captions as captions
from tests.hub.conftest import hub as hub
from tests.hub.conftest import tiny_base as tiny_base
from tests.hub_server import HubServer
from tests.tiny import ddpm_pipeline, image_folder

FEW = ("--num_images", 10, "--num_inference_steps", 2)


@pytest.fixture(scope="module")
def lora(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_lora(tiny_base, tmp_path_factory.mktemp("made") / "lora", "lab/tiny-sd")


@pytest.fixture
def few_attacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attacks take some of many pictures and captions."""
    monkeypatch.setattr("memshield.audit.attacks.MOST", 20)
    monkeypatch.setattr("memshield.audit.attacks.MOST_PROMPTS", 4)


def test_a_lora_of_the_hub_is_audited_on_the_base_that_its_card_names(
    hub: HubServer, lora: Path, captions: Path, tmp_path: Path, few_attacked: None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    sha = hub.add_repo("model", "bob/style", lora)
    words = ("--model", "bob/style", "--dataset", captions, "--held-out", "40%")
    command("audit", *words, *FEW, "--beside", "base", "--out", tmp_path / "out" / "style")
    report = report_in(tmp_path / "out" / "style")
    assert report.target.name == "bob/style" and report.target.base == "lab/tiny-sd"
    assert report.target.revision == sha
    assert (report.data.training, report.data.held_out, report.data.overlap) == (120, 80, 0)
    assert report.headline.level == 0.05 and report.headline.excess_interval is not None
    assert [attack.members for attack in report.membership] == [20, 20, 4]
    assert report.generated.prompts == "train"
    base = report_in(tmp_path / "out" / "base")
    assert base.quality != report.quality
    assert base_among(report, [base]) == base
    page = (tmp_path / "out" / "style" / "report.html").read_text()
    assert "lab/tiny-sd" in page and "Before it was trained, the model had" in page
    assert (tmp_path / "out" / "style" / "private.html").is_file()
    said = capsys.readouterr().out
    assert "Copies:" in said and "Quality:" in said
    assert "Before it was trained, the model had" in said


def test_a_lora_changes_what_is_drawn_and_what_fits_no_part_is_refused(
    lora: Path, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = image_folder(tmp_path / "pictures", 60)
    data = ("--train_data_dir", pictures, "--no_attacks", *FEW)
    command("audit", lora, "--base", tiny_base, *data, "--out", tmp_path / "with")
    command("audit", tiny_base, *data, "--out", tmp_path / "without")
    drawn = [(tmp_path / name / "images.npy").read_bytes() for name in ("with", "without")]
    assert drawn[0] != drawn[1]
    assert report_in(tmp_path / "with").target.base == tiny_base.name
    # Nothing is held out, and the report says what follows.
    said = capsys.readouterr().out
    assert "0 pictures held out, and 60 are needed" in said
    assert "cannot say" in report_in(tmp_path / "with").verdict
    shutil.copytree(lora, tmp_path / "foreign")
    save_file(
        {"foo.lora_A.weight": torch.zeros(4, 4), "foo.lora_B.weight": torch.zeros(4, 4)},
        tmp_path / "foreign" / "pytorch_lora_weights.safetensors",
    )
    out = ("--out", tmp_path / "refused")
    said = refused(capsys, "audit", tmp_path / "foreign", "--base", tiny_base, *data, *out)
    assert "none of its weights belongs to a part of this pipeline" in said


def test_training_pictures_among_the_held_out_ones_are_found_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = ddpm_pipeline(tmp_path / "pipeline")
    every = image_folder(tmp_path / "every", 130, 8, captions=False, channels=1)
    for name, first, last in (("training", 0, 60), ("fresh", 53, 130)):
        (tmp_path / name).mkdir()
        for i in range(first, last):
            shutil.copy(every / f"{i:04d}.png", tmp_path / name)
    words = ("--model", pipeline, "--dataset", tmp_path / "training", *FEW)
    command("audit", *words, "--held_out", tmp_path / "fresh", "--out", tmp_path / "out")
    report = report_in(tmp_path / "out")
    assert (report.data.training, report.data.held_out, report.data.overlap) == (60, 70, 7)
    assert any(limit.startswith("7 of the pictures that were named") for limit in report.limits)
    assert "Not taken as held out, for they were trained on: 7" in capsys.readouterr().out
    assert "7 of the pictures that were named" in (tmp_path / "out" / "report.html").read_text()
    assert not (tmp_path / "out" / "audit-progress.json").exists()
    said = refused(capsys, "audit", *words, "--held_out", tmp_path / "training")
    assert "all of its 60 pictures are training pictures" in said
    assert "its base" not in said
    assert "is not known" in refused(
        capsys, "audit", *words, "--held_out", tmp_path / "fresh", "--beside", "base",
        "--out", tmp_path / "other",
    )  # fmt: skip


def test_models_that_cannot_be_audited_are_refused_before_any_weight_is_read(
    hub: HubServer, lora: Path, tiny_base: Path, tmp_path: Path, captioned: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    data = ("--dataset", "ada/pictures")
    whole = {"model.diffusion_model.weight": torch.zeros(2)}
    for name in ("single", "two", "pickled", "empty", "flux", "blip"):
        (tmp_path / name).mkdir()
    save_file(whole, tmp_path / "single" / "v1-5.safetensors")
    for name in ("a", "b"):
        save_file(whole, tmp_path / "two" / f"{name}.safetensors")
    (tmp_path / "pickled" / "model.ckpt").write_bytes(b"x")
    (tmp_path / "flux" / "model_index.json").write_text('{"_class_name": "NoSuchPipeline"}')
    nameless = tmp_path / "nameless"
    shutil.copytree(lora, nameless)
    (nameless / "README.md").unlink()
    hub.add_repo("model", "bob/single", tmp_path / "single")
    hub.add_repo("model", "bob/gated", tiny_base, gated=True)

    def said(*words: object) -> str:
        return refused(capsys, "audit", *words)

    assert "is not on the Hub" in said("--model", "nobody/nothing", *data)
    assert "is gated" in said("--model", "bob/gated", *data)
    assert "holds only a single-file checkpoint (v1-5.safetensors)" in said(
        "--model", "bob/single", *data
    )
    assert "single-file checkpoint" in said("--model", "single", *data)
    assert "is a single file" in said("--model", "single/v1-5.safetensors", *data)
    assert "several files of weights" in said("--model", "two", *data)
    assert "has no file 'c.safetensors'" in said(
        "--model", "two", "--weight_name", "c.safetensors", *data
    )
    assert "only pickled weights" in said("--model", "pickled", *data)
    assert "neither a diffusers pipeline nor a LoRA" in said("--model", "empty", *data)
    assert "NoSuchPipeline, which is not supported" in said("--model", "flux", *data)
    assert "does not say what it goes on" in said("--model", nameless, *data)
    assert "is a whole pipeline" in said("--model", "lab/tiny-sd", "--base", "x/y", *data)
    assert "it is not known which pictures lab/tiny-sd was trained on" in said(
        "--model", "lab/tiny-sd"
    )
    assert "24 training pictures are too few" in said(
        "--model", "lab/tiny-sd", "--dataset", captioned
    )
    bare = image_folder(tmp_path / "bare", 60, captions=False)
    assert "the dataset has none" in said("--model", "lab/tiny-sd", "--dataset", bare)
    assert "no pictures" in said("--model", "lab/tiny-sd", "--dataset", tmp_path / "empty")
    for share in ("0%", "100%", "120%", "-5%", "20.5%"):
        told = said("--model", "lab/tiny-sd", *data, f"--held_out={share}")
        assert told.startswith("held_out: ") and "Give 1% to 99%" in told
    assert "given beside a target" in said("x", "--model", "lab/tiny-sd", *data)
    assert not (tmp_path / "memshield-audit").exists()


def test_a_model_of_few_steps_is_audited_and_not_trained(hub: HubServer, tiny_base: Path) -> None:
    hub.add_repo("model", "lab/tiny-turbo", tiny_base)
    config = make_config(
        {"pretrained_model_name_or_path": "lab/tiny-turbo", "resolution": 16}, without=["dataset"]
    )
    with pytest.raises(UserError, match="was distilled to a few steps") as caught:
        read_facts(config)
    assert "the model that it was distilled from" in str(caught.value)
    assert read_facts(config, to_train=False).distilled


def test_prompts_of_a_whole_pipeline_are_as_long_as_its_own(tiny_sd3: Path, tmp_path: Path) -> None:
    """Whoever draws with it has no other; a training's own default is its usual script's."""
    data: dict[str, Any] = {"train_data_dir": str(image_folder(tmp_path / "pictures", 60))}
    found = open_pipeline(str(tiny_sd3), {**data, "resolution": 16}, {})
    assert found.config.max_sequence_length == 256
    asked = {**data, "resolution": 16, "max_sequence_length": 24}
    assert open_pipeline(str(tiny_sd3), asked, {}).config.max_sequence_length == 24


def test_a_card_cannot_name_a_folder_as_the_base(
    lora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tiny_base: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_base, tmp_path / "some" / "base")
    for named in ("some/base", str(tiny_base), "../some/base", "[*x]"):
        shutil.rmtree(tmp_path / "lora", ignore_errors=True)
        shutil.copytree(lora, tmp_path / "lora")
        (tmp_path / "lora" / "README.md").write_text(f"---\nbase_model: {named}\n---\n")
        said = refused(capsys, "audit", "--model", "lora", "--dataset", "sklearn:digits")
        assert "does not say what it goes on" in said


def test_only_its_own_base_is_taken_for_the_base_of_a_run(tmp_path: Path) -> None:
    from tests.audit.reports import report_of

    run = report_of(0.0, 0.1)
    run = run.model_copy(update={"target": run.target.model_copy(update={"base": "lab/base"})})
    other = report_of(0.0, 0.2)
    target = other.target.model_copy(
        update={"kind": "pipeline", "name": "lab/other", "base": None, "round": None}
    )
    other = other.model_copy(update={"target": target})
    assert base_among(run, [other]) is None
    own = other.model_copy(update={"target": target.model_copy(update={"name": "lab/base"})})
    assert base_among(run, [other, own]) is own
