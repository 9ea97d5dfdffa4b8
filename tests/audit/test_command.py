from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from safetensors.torch import load_file, save_file

from memshield.audit.command import folder_for
from memshield.audit.report import Report
from memshield.audit.subject import open_run
from memshield.data.examples import Examples
from memshield.rundir import RunDir, audit_lock_path
from tests.audit.runs import QUICK, command, refused, report_in, save_pictures, small_run
from tests.tiny import ddpm_pipeline, image_folder
from tests.trained_runs import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return small_run(tmp_path_factory.mktemp("audited"))


def test_an_audit_of_a_run_says_all_it_measured_and_why_it_left_things_out(run: RunDir) -> None:
    command("audit", run.path, *QUICK)
    report = report_in(run.audit_of(None))
    examples = Examples.read(run.examples)
    assert report.data.training == len(examples.members()) == 120
    assert report.data.held_out == 80
    assert report.generated.count == 40
    assert report.headline.level == 0.05
    assert len(report.curve) == 101
    assert {q.measure for q in report.quality} == {"KID", "Frechet distance", "precision", "recall"}
    assert all(q.space and q.count == 40 and q.reference_count == 80 for q in report.quality)
    assert [attack.members for attack in report.membership] == [120, 120]
    assert report.target.mitigation["num_shards"] == 2
    assert report.target.name == "run"
    page = (run.audit_of(None) / "report.html").read_text()
    assert report.verdict in page
    figures = [name for measure in report.memorization for name in measure.figures]
    assert {"share under 0.3", "share under 1/3, fresh real pictures"} <= set(figures)
    assert all(f"<td>{name}</td>" in page for name in figures)
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_what_is_published_points_at_no_training_picture(run: RunDir) -> None:
    command("audit", run.path, *QUICK)
    folder = run.audit_of(None)
    digests = set(Examples.read(run.examples).sha256.tolist())
    for name in ("report.json", "report.html"):
        text = (folder / name).read_text()
        assert str(run.path.parent) not in text
        assert not any(digest in text for digest in digests)
        assert "data:image" not in text
    private = json.loads((folder / "private.json").read_text())
    members = set(Examples.read(run.examples).members().tolist())
    assert private["pairs"]
    assert {pair["training"] for pair in private["pairs"]} <= members
    assert (folder / "private.html").read_text().count("data:image/png") >= 80


def test_the_same_audit_again_gives_the_same_figures(run: RunDir) -> None:
    command("audit", run.path, *QUICK, "--round", 1)
    first = report_in(run.audit_of(1))
    (run.audit_of(1) / "images.json").unlink()
    command("audit", run.path, *QUICK, "--round", 1)
    again = report_in(run.audit_of(1))
    assert again.target.round == 1
    assert again.memorization == first.memorization
    assert again.quality == first.quality
    assert again.membership == first.membership


def test_another_seed_generates_other_pictures(run: RunDir) -> None:
    command("audit", run.path, *QUICK, "--no_attacks")
    first = report_in(run.audit_of(None))
    command("audit", run.path, *QUICK, "--no_attacks", "--seed", 1)
    assert report_in(run.audit_of(None)).quality != first.quality
    assert "membership inference" in {one.measure for one in first.missing}


def test_pictures_of_any_generator_are_compared_and_copies_found(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = open_run(run.path, None, {}).reference
    training = save_pictures(reference.training, tmp_path / "training")
    fresh = save_pictures(reference.held_out[:70], tmp_path / "fresh")
    mixed = np.concatenate([reference.training[:15], reference.held_out[70:]])
    copies = save_pictures(mixed, tmp_path / "copies")
    words = ("--train_data_dir", training, "--held_out_data_dir", fresh)
    command("audit", "--images", copies, *words, "--output_dir", tmp_path / "out")
    report = report_in(tmp_path / "out")
    assert report.target.kind == "pictures"
    assert report.headline.share is not None
    assert report.headline.share >= 15 / 25
    assert report.headline.excess_interval is not None
    assert report.headline.excess_interval[0] > 0.3
    assert report.verdict.startswith("The model gives training pictures back")
    private = json.loads((tmp_path / "out" / "private.json").read_text())
    exact = {pair["generated"]: pair["training"] for pair in private["pairs"] if pair["ratio"] == 0}
    assert exact == {i: i for i in range(15)}
    assert report.verdict in capsys.readouterr().out


def test_pictures_stand_beside_audits_of_the_same_set_alone(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = open_run(run.path, None, {}).reference
    made = save_pictures(reference.held_out[70:], tmp_path / "made")
    fresh = save_pictures(reference.held_out[:70], tmp_path / "fresh")
    for name, first in (("a", 0), ("b", 5)):
        training = save_pictures(reference.training[first:], tmp_path / name)
        words = ("--train_data_dir", training, "--held_out_data_dir", fresh)
        if name == "a":
            command("audit", "--images", made, *words, "--output_dir", tmp_path / "out")
    beside = ("--beside", tmp_path / "out", "--output_dir", tmp_path / "other")
    said = refused(capsys, "audit", "--images", made, *words, *beside)
    assert "was audited on other training pictures" in said
    assert not (tmp_path / "other").exists()


def test_audits_of_different_models_have_different_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x" / "checkpoint-5").mkdir(parents=True)
    names = {"ada/style": "ada-style", "bob/style": "bob-style", "x/checkpoint-5": "x-checkpoint-5",
             str(tmp_path / "x" / "checkpoint-5"): "x-checkpoint-5"}  # fmt: skip
    for name, folder in names.items():
        assert folder_for(name) == Path("memshield-audit") / folder


def test_without_held_out_pictures_the_report_says_that_it_cannot_say(
    run: RunDir, tmp_path: Path
) -> None:
    reference = open_run(run.path, None, {}).reference
    training = save_pictures(reference.training, tmp_path / "training")
    made = save_pictures(reference.held_out[:20], tmp_path / "made")
    command(
        "audit", "--images", made, "--train_data_dir", training, "--output_dir", tmp_path / "out"
    )
    report = report_in(tmp_path / "out")
    assert report.headline.excess is None
    assert "cannot say" in report.verdict
    assert "quality" in {one.measure for one in report.missing}
    assert "cannot say" in (tmp_path / "out" / "report.html").read_text()


def test_a_pipeline_is_audited_with_its_dataset(tmp_path: Path) -> None:
    pipeline = ddpm_pipeline(tmp_path / "pipeline")
    words = ("--dataset_name", "sklearn:digits", "--max_train_samples", 100)
    command("audit", pipeline, *words, *QUICK, "--no_attacks", "--output_dir", tmp_path / "out")
    report = report_in(tmp_path / "out")
    assert report.target.kind == "pipeline"
    assert (report.data.training, report.data.held_out) == (100, 0)


def test_a_lora_is_audited_over_its_base_and_beside_it(
    tmp_path: Path, tiny_sd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = image_folder(tmp_path / "pictures", 80)
    # The attack of 50 steps a caption takes some captions of many.
    monkeypatch.setattr("memshield.audit.attacks.MOST_PROMPTS", 10)
    run = train(
        pretrained_model_name_or_path=tiny_sd,
        train_data_dir=pictures,
        held_out_fraction=0.3,
        num_shards=2,
        num_rounds=2,
        max_train_steps=4,
        train_batch_size=4,
        num_validation_images=0,
        output_dir=tmp_path / "run",
    )
    words = ("--num_images", 10, "--num_inference_steps", 2)
    command("audit", run.path, *words, "--prompts", "perturbed", "--beside", "base")
    report = report_in(run.audit_of(None))
    assert report.generated.prompts == "perturbed"
    assert {attack.attack.split(" (")[0] for attack in report.membership} == {
        "denoising loss", "proximal initialization", "prompt magnitude",
    }  # fmt: skip
    assert [attack.members for attack in report.membership] == [56, 56, 10]
    base = Report.read(run.path / "audit" / "base" / "report.json")
    assert base.data.fingerprint == report.data.fingerprint
    assert base.quality != report.quality
    assert tiny_sd.name in (run.audit_of(None) / "report.html").read_text()


@pytest.mark.parametrize("wrong", ["plian", "base"])
def test_what_stands_beside_is_looked_for_before_anything_is_made(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    """The run was trained from scratch, and has no base."""

    def searched(*words: object, **options: object) -> None:
        raise AssertionError("it comes after")

    monkeypatch.setattr("memshield.audit.command.comparison_of", searched)
    said = refused(capsys, "audit", run.path, *QUICK, "--beside", wrong)
    assert ("it has no base" if wrong == "base" else "plian holds no audit") in said


def test_a_broken_model_is_called_broken_and_not_free_of_memorization(tmp_path: Path) -> None:
    run = small_run(tmp_path, max_train_steps=2, num_rounds=1)
    (path,) = (run.model / "unet").glob("*.safetensors")
    state = load_file(path)
    save_file({name: value * float("nan") for name, value in state.items()}, path)
    command("audit", run.path, *QUICK)
    report = report_in(run.audit_of(None))
    assert report.generated.broken == 40
    assert report.verdict.startswith("The model is broken")
    assert report.headline.excess is None


# What a user can get wrong


def test_refused_targets_and_datasets(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "target: is missing" in refused(capsys, "audit")
    assert f"{tmp_path} holds no run" in refused(capsys, "audit", tmp_path)
    assert f"there is no run {tmp_path / 'x'}" in refused(capsys, "audit", tmp_path / "x")
    assert "rounds: 1, 2, 3" in refused(capsys, "audit", run.path, "--round", 9).replace(
        "It has the ", ""
    )
    other = image_folder(tmp_path / "other", 200, 8, channels=1)
    said = refused(capsys, "audit", run.path, "--train_data_dir", other)
    assert "not the one that this run was started with" in said
    assert "--resolution" in refused(capsys, "audit", run.path, "--resolution", 16)
    assert "at least 10" in refused(capsys, "audit", run.path, "--num_images", 3)
    assert "sscd_sha256" in refused(capsys, "audit", run.path, "--sscd", tmp_path / "sscd.pt")
    assert "holds no audit" in refused(capsys, "audit", run.path, *QUICK, "--beside", tmp_path)


def test_of_two_audits_of_the_same_weights_one_is_refused(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run.audit_of(None)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(audit_lock_path(folder)):
        assert "another process is writing to" in refused(capsys, "audit", run.path, *QUICK)
    command("audit", run.path, *QUICK)


def test_what_cannot_be_asked_for_is_refused(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "audit", run.path, *QUICK, "--prompts", "held_out")
    assert "the model takes no prompts" in said
    for flag in ("--held_out", "--held_out_split", "--held_out_data_dir"):
        assert "knows its own" in refused(capsys, "audit", run.path, *QUICK, flag, "test")
    said = refused(capsys, "audit", "--model", run.path, *QUICK)
    assert f"is a run\n  Leave --model out: audit {run.path}" in said


def test_damaged_files_of_a_run_are_named(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = RunDir(shutil.copytree(run.path, tmp_path / "copy"))
    (weights,) = (copy.model / "unet").glob("*.safetensors")
    whole = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(whole[:1000])
    assert f"{weights}: is damaged" in refused(capsys, "audit", copy.path, *QUICK, "--seed", 3)
    copy.examples.write_bytes(b"PAR1")
    assert "examples.parquet is damaged" in refused(capsys, "audit", copy.path, *QUICK)


def test_too_few_training_pictures_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = small_run(
        tmp_path, max_train_samples=40, held_out_fraction=0.2, max_train_steps=2, num_rounds=1
    )
    said = refused(capsys, "audit", few.path)
    assert "32 training pictures are too few" in said
    assert "50" in said


def test_training_pictures_that_are_all_alike_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is generated; and before a training that is to be audited begins."""
    settings = {"duplicate_distance": 0.5, "max_train_steps": 2, "num_rounds": 1}
    run = small_run(tmp_path, held_out_fraction=0.0, **settings)
    assert "all training pictures are near-duplicates" in refused(capsys, "audit", run.path)
    assert not run.audit_of(None).exists()


@pytest.mark.parametrize("held_out", [3, 4])
def test_a_handful_of_held_out_pictures(tmp_path: Path, held_out: int) -> None:
    settings = {"max_train_samples": 60, "max_train_steps": 2, "num_rounds": 1}
    run = small_run(tmp_path, held_out_fraction=held_out / 60, **settings)
    command("audit", run.path, *QUICK, "--no_attacks")
    report = report_in(run.audit_of(None))
    assert report.data.held_out == held_out
    assert bool(report.quality) == (held_out == 4)


def test_refused_folders_of_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = image_folder(tmp_path / "training", 60, 16)
    mixed = image_folder(tmp_path / "mixed", 3, 16)
    image_folder(tmp_path / "mixed" / "more", 2, 24)
    data = ("--train_data_dir", training)
    assert "differ in size" in refused(capsys, "audit", "--images", mixed, *data)
    assert "no pictures" in refused(capsys, "audit", "--images", _empty(tmp_path), *data)
    assert "dataset_name" in refused(capsys, "audit", "--images", training)
    said = refused(capsys, "audit", "--images", training, *data, "--resolution", "abc")
    assert "resolution: must be a whole number" in said
    for flag in ("--round", "--seed", "--num_inference_steps"):
        assert "Leave it out" in refused(capsys, "audit", "--images", training, *data, flag, 1)


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def test_an_empty_list_of_prompts_is_refused(
    tmp_path: Path, tiny_sd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = image_folder(tmp_path / "pictures", 60)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n\n")
    words = ("--train_data_dir", pictures, "--prompts", prompts, "--output_dir", tmp_path / "out")
    assert "holds no line" in refused(capsys, "audit", tiny_sd, *words)
