"""`python -m memshield sample RUN`: the pictures, and what is said of each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from memshield.__main__ import main
from memshield.audit.report import SECOND, SQUARED
from memshield.audit.subject import pictures_of
from memshield.rundir import RunDir
from memshield.sampling.nearness import CopyWatch
from memshield.sampling.record import Samples, read_samples
from tests.audit.runs import QUICK, command, refused, report_in, small_run
from tests.planted import GREY, grey_example, plant, run_with_a_grey_picture
from tests.trained_runs import train

FAST = ("--num_inference_steps", 2)


def sampled(folder: Path, *words: object) -> Samples:
    """What samples.json says of `sample WORDS`."""
    command("sample", *words, *FAST, "--output_dir", folder)
    found = read_samples(folder)
    assert found is not None and found.stage == "done" and found.problem is None
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """Digits, not audited."""
    return small_run(tmp_path_factory.mktemp("digits"))


def test_a_grid_for_people(run: RunDir, tmp_path: Path) -> None:
    words = ["sample", run.path, "--num_images", 5, *FAST]
    command(*words, "--output", tmp_path / "grid.png")
    assert Image.open(tmp_path / "grid.png").size == (3 * 50 + 2, 2 * 50 + 2)
    command(*words, "--round", 1, "--no_compare", "--output", tmp_path / "first.png")
    assert (tmp_path / "first.png").read_bytes() != (tmp_path / "grid.png").read_bytes()


def test_single_pictures_each_with_its_warning(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = sampled(tmp_path / "made", run.path, "--num_images", 3, "--seed", 7)
    assert (found.model, found.run, found.compared) == ("run", "run", 120)
    assert [(one.file, one.seed, one.prompt) for one in found.pictures] == [
        ("0000.png", 7, None), ("0001.png", 8, None), ("0002.png", 9, None)
    ]  # fmt: skip
    for one in found.pictures:
        assert Image.open(tmp_path / "made" / one.file).size == (8, 8)
        assert one.warning is not None
        assert one.warning.level == "none" and one.warning.nearest is None
    # Without an audit nobody knows what is usual here, and that is said.
    assert found.rule is not None and found.rule.source == "fixed"
    said = capsys.readouterr().out
    assert "a fixed rule is used" in said
    assert "0 of 3 pictures are near-copies" in said
    # The same seed is the same picture.
    again = sampled(tmp_path / "again", run.path, "--num_images", 1, "--seed", 8, "--no_compare")
    assert again.not_compared is not None and again.pictures[0].warning is None
    ours, theirs = (np.asarray(Image.open(tmp_path / name), dtype=int)
                    for name in ("again/0000.png", "made/0001.png"))  # fmt: skip
    assert abs(ours - theirs).max() <= 1


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run whose training set holds an evenly grey picture; audited."""
    found = run_with_a_grey_picture(tmp_path_factory.mktemp("grey"))
    command("audit", found.path, *QUICK, "--no_attacks")
    return found


@pytest.mark.parametrize("audited", [True, False])
def test_a_picture_that_is_given_back_is_told_and_others_are_not(
    grey: RunDir, tmp_path: Path, audited: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir(shutil.copytree(grey.path, tmp_path / "run"))
    if not audited:
        shutil.rmtree(run.path / "audit")
    honest = sampled(tmp_path / "honest", run.path, "--num_images", 2)
    assert [one.warning and one.warning.level for one in honest.pictures] == ["none", "none"]
    assert list((tmp_path / "honest").glob("*-nearest.png")) == []
    plant(run.model)
    capsys.readouterr()
    found = sampled(tmp_path / "made", run.path, "--num_images", 2)
    assert found.rule is not None
    assert found.rule.source == ("audit" if audited else "fixed")
    assert (found.rule.chance is not None) == audited
    for one in found.pictures:
        warning = one.warning
        assert warning is not None and warning.level == "near_copy"
        assert warning.value == warning.distance == 0
        assert warning.training == grey_example(run)
        assert warning.nearest is not None
        shown = np.asarray(Image.open(tmp_path / "made" / warning.nearest))
        assert (shown == GREY).all()
    said = capsys.readouterr().out
    assert "0001.png (seed 1) is a near-copy of a training picture: 0.000" in said
    assert "2 of 2 pictures are near-copies" in said


def test_the_measure_that_found_more_in_the_audit_warns(grey: RunDir) -> None:
    """Where copies stand out from the second neighbour alone, that is what pictures are held to."""
    report = report_in(grey.audit_of(None))
    squared, second = (
        next(one for one in report.memorization if one.statistic == name)
        for name in (SQUARED, SECOND)
    )
    more = second.model_copy(
        update={"threshold": 0.4, "excess": 0.3, "excess_interval": (0.2, 0.4), "p_value": 1e-9}
    )
    found = report.model_copy(update={"memorization": (squared, more)})
    reference = pictures_of(grey)
    watch = CopyWatch(reference, [found], torch.device("cpu"))
    assert (watch.rule.source, watch.rule.statistic) == ("audit", SECOND)
    assert watch.rule.threshold == 0.4 and watch.rule.close is None
    copy, other = reference.training[:1], reference.held_out[:1]
    (near,), (far,) = watch.look(np.asarray(copy)), watch.look(np.asarray(other))
    assert near.level == "near_copy" and near.value == 0
    distances = np.sort([
        np.sqrt(((np.asarray(one, float) - np.asarray(other[0], float)) ** 2).sum())
        for one in reference.training[:]
    ])  # fmt: skip
    assert far.value == pytest.approx(distances[0] / distances[1], rel=1e-3)
    assert far.as_near is None, "how near fresh pictures are is known of the squared ratio alone"


def test_a_broken_model_is_told_and_not_compared(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from diffusers import DDPMPipeline

    broken = RunDir(shutil.copytree(run.path, tmp_path / "run"))
    pipeline = DDPMPipeline.from_pretrained(broken.model)
    pipeline.unet.conv_out.bias.data.fill_(float("nan"))
    pipeline.save_pretrained(broken.model)
    found = sampled(tmp_path / "made", broken.path, "--num_images", 2)
    assert [(one.broken, one.warning) for one in found.pictures] == [(True, None)] * 2
    said = capsys.readouterr().out
    assert "No picture could be compared" in said and "near-cop" not in said


def test_training_pictures_that_are_gone_are_told_and_pictures_are_made(
    grey: RunDir, tmp_path: Path
) -> None:
    run = RunDir(shutil.copytree(grey.path, tmp_path / "run"))
    text = run.config.read_text()
    run.config.write_text(text.replace("pictures-", "moved-"))
    found = sampled(tmp_path / "made", run.path, "--num_images", 1)
    assert found.compared is None and len(found.pictures) == 1
    assert "The training pictures cannot be looked at" in str(found.not_compared)


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, tiny_sd: Path) -> RunDir:
    """A LoRA on a small Stable Diffusion, trained on 60 pictures."""
    from tests.tiny import image_folder

    folder = tmp_path_factory.mktemp("lora")
    return train(
        pretrained_model_name_or_path=tiny_sd, train_data_dir=image_folder(folder / "p", 64),
        held_out_fraction=0, num_shards=1, num_rounds=1, max_train_steps=1, train_batch_size=2,
        num_validation_images=0, output_dir=folder / "run",
    )  # fmt: skip


def test_prompts_in_turn_from_the_same_seeds(
    lora: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = ("--prompt=a cat", "--prompt=--round=7", "--prompt=none")
    found = sampled(tmp_path / "made", lora.path, *prompts, "--num_images", 2)
    assert [(one.seed, one.prompt) for one in found.pictures] == [
        (seed, prompt) for prompt in ("a cat", "--round=7", "none") for seed in (0, 1)
    ]
    assert Image.open(tmp_path / "made" / "0000.png").size == (16, 16)
    assert all(one.warning is not None for one in found.pictures)
    assert "this model draws what words say" in refused(capsys, "sample", lora.path)
    assert "this model draws what words say" in refused(capsys, "sample", lora.path, "--prompt= ")


def test_prompts_are_taken_as_in_training(tiny_sd3: Path, tmp_path: Path) -> None:
    """Its stock pipeline pads them to 256 tokens where it is not told."""
    from diffusers import DiffusionPipeline

    from tests.tiny import image_folder

    run = train(
        pretrained_model_name_or_path=tiny_sd3, train_data_dir=image_folder(tmp_path / "p", 24),
        held_out_fraction=0, num_shards=1, num_rounds=1, max_train_steps=1, train_batch_size=2,
        num_validation_images=0, max_sequence_length=24, output_dir=tmp_path / "run",
    )  # fmt: skip
    words = ("--prompt=a cat", "--num_images", 1, "--no_compare")
    sampled(tmp_path / "made", run.path, *words)
    pipeline = DiffusionPipeline.from_pretrained(tiny_sd3)
    pipeline.load_lora_weights(run.model)
    pipeline.set_progress_bar_config(disable=True)
    drawn = {
        tokens: np.asarray(
            pipeline(
                "a cat", num_inference_steps=2, height=16, width=16, max_sequence_length=tokens,
                generator=[torch.Generator().manual_seed(0)],
            ).images[0]
        ).astype(int)
        for tokens in (24, 256)
    }  # fmt: skip
    found = np.asarray(Image.open(tmp_path / "made" / "0000.png")).astype(int)
    assert np.abs(found - drawn[24]).max() <= 1
    assert np.abs(found - drawn[256]).max() > 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--num_images", "0"], "num_images: must be 1 to 1,000, is 0"),
        (["--num_images", "-1"], "num_images: must be 1 to 1,000, is -1"),
        (["--num_images", "9" * 30], "num_images: must be 1 to 1,000, is 9"),
        (["--num_images", "many"], "invalid int value: 'many'"),
        (["--num_inference_steps", "0"], "num_inference_steps: must be 1 to 1,000"),
        (["--seed", "-1"], "seed: must be 0 to "),
        (["--round", "0"], "round: must be at least 1"),
        (["--round", "9"], "is not there yet"),
        (["--prompt", "a cat"], "this model draws without words"),
        (["--against", "x"], "is a run, which knows its own"),
        (["--sed", "1"], "unrecognized arguments: --sed"),
    ],
)
def test_bad_words_are_answered_in_words(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert said in refused(capsys, "sample", run.path, *words, "--output_dir", tmp_path / "made")
    failed = read_samples(tmp_path / "made")
    assert failed is None or (failed.stage == "failed" and said in str(failed.problem))


def test_what_is_no_run_and_a_folder_in_use(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for target in (tmp_path / "nothing", "../x", "runs"):
        assert "holds no run, and is no id on the Hub" in refused(capsys, "sample", target)
    (tmp_path / "mine").write_text("x")
    said = refused(capsys, "sample", run.path, *FAST, "--output_dir", tmp_path)
    assert "is not empty" in said
    assert (tmp_path / "mine").read_text() == "x"


def test_a_mended_command_takes_the_folder_of_the_one_that_failed(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"
    words = ("sample", run.path, *FAST, "--output_dir", made)
    assert "without words" in refused(capsys, *words, "--prompt", "a cat")
    assert sampled(made, run.path, "--num_images", 1).pictures
    assert "is not empty" in refused(capsys, *words), "one that has drawn stays"


def test_a_grid_is_no_folder(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "sample", run.path, *FAST, "--output", tmp_path)
    assert said.startswith(f"output: {tmp_path} is a folder")


def test_records_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    assert read_samples(tmp_path) is None
    good: dict[str, Any] = {"version": 1, "model": "a/b", "total": 1, "steps": 1}
    for values in ("{", "[]", json.dumps({**good, "version": 2}), json.dumps({**good, "x": 1})):
        (tmp_path / "samples.json").write_text(values)
        assert read_samples(tmp_path) is None
    (tmp_path / "samples.json").write_text(json.dumps(good))
    assert read_samples(tmp_path) is not None


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    assert "--against" in capsys.readouterr().out
