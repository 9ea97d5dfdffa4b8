from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from memshield.audit.choose import Choice
from memshield.audit.crops import Crops
from memshield.audit.images import ImageSet, Ints, Pixels, of_places
from memshield.audit.subject import Subject, open_run
from memshield.digests import weights_sha256
from memshield.errors import UserError
from memshield.rundir import RunDir, audit_lock_path
from memshield.runs.compare import _promote
from memshield.runs.promote import promote, promote_alone
from tests.audit.runs import QUICK, command, refused, report_in, small_run

SHORT: dict[str, Any] = {"num_rounds": 1, "max_train_steps": 2}
FEWER = 70
"""Held-out pictures that are put in place of a run's own; an audit needs 60."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return small_run(tmp_path_factory.mktemp("first"))


def two_crops(subject: Subject) -> Crops:
    """Each picture as it is and in half its contrast, as if that were another crop of it."""
    training = subject.reference.training

    def read(places: Ints) -> Pixels:
        return np.stack([training[i // 2 :][0] // np.uint8(1 + i % 2) for i in places])

    shape = (2 * len(training), *training.shape[1:])
    return Crops(ImageSet(shape, read), np.repeat(np.arange(len(training)), 2))


def test_all_rounds_are_audited_with_the_same_pictures_and_one_is_promoted(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    command("compare", run.path, *QUICK, "--no_attacks", "--budget", 0.9, "--promote")
    reports = [report_in(run.audit_of(number)) for number in (1, 2, 3)]
    assert len({report.generated.seed for report in reports}) == 1
    for report in reports:
        assert report.target.weights == weights_sha256(run.rounds / str(report.target.round))
    kept = min(reports, key=lambda report: report.quality[0].value)
    number = kept.target.round
    assert f"Chosen: run, round {number}" in capsys.readouterr().out
    found = json.loads((run.path / "audit" / "compare.json").read_text())
    assert found["choice"]["place"] == int(number or 0) - 1
    assert found["choice"]["within"]
    assert report_in(run.audit_of(None)) == kept
    assert kept.target.weights == weights_sha256(run.model), "it can be published with its audit"
    assert not (run.audit_of(None) / "private.json").exists()
    ours, theirs = (
        (folder / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
        for folder in (run.model, run.rounds / str(number))
    )
    assert ours == theirs
    page = (run.path / "audit" / "compare.html").read_text()
    assert page.count("<svg") == 2


def test_a_budget_on_a_fixed_alpha(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    # No ratio is under 0: nothing is given back there, of no round.
    command("compare", run.path, *QUICK, "--no_attacks", "--alpha", 0.0, "--budget", 0.0)
    said = capsys.readouterr().out
    assert said.count("beyond chance       none") == 3
    assert "within the budget" in said


def test_an_audit_of_another_model_is_gone_once_a_round_is_promoted(run: RunDir) -> None:
    command("audit", run.path, *QUICK, "--no_attacks")
    shutil.rmtree(run.audit_of(2), ignore_errors=True)
    promote(run, 2)
    assert not run.audit_of(None).exists()
    command("audit", run.path, "--round", 3, *QUICK, "--no_attacks")
    promote(run, 3)
    assert report_in(run.audit_of(None)).target.round == 3


def test_a_round_is_not_promoted_while_the_model_is_audited(run: RunDir) -> None:
    command("audit", run.path, *QUICK, "--no_attacks")
    with (
        FileLock(audit_lock_path(run.audit_of(None))),
        pytest.raises(UserError, match="is being audited"),
    ):
        promote_alone(run, 2, "it is wanted")
    assert report_in(run.audit_of(None)).target.round is None
    promote_alone(run, 2, "it is wanted")
    assert not run.audit_of(None).exists() or report_in(run.audit_of(None)).target.round == 2


def test_mirrored_pictures_count_for_all_if_one_run_saw_them(run: RunDir, tmp_path: Path) -> None:
    flipped = small_run(tmp_path / "flipped", random_flip=True, **SHORT)
    thresholds = []
    for one in (run, flipped):
        command("audit", one.path, *QUICK, "--no_attacks")
        thresholds.append(report_in(one.audit_of(None)).headline.threshold)
    assert thresholds[0] != thresholds[1]
    words = ("--output_dir", tmp_path / "out")
    command("compare", run.path, flipped.path, *QUICK, "--no_attacks", *words)
    for one in (run, flipped):
        assert report_in(one.audit_of(None)).headline.threshold == thresholds[1]


def test_several_runs_are_set_side_by_side(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = small_run(tmp_path / "plain", num_shards=1, skip_threshold=0, **SHORT)
    command(
        "compare", run.path, plain.path, *QUICK, "--no_attacks", "--output_dir", tmp_path / "out"
    )
    found = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [one["target"]["mitigation"]["num_shards"] for one in found["reports"]] == [2, 1]
    assert found["choice"] is None


def test_random_crops_count_for_all_if_one_run_saw_them(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digits are square: crops of them are put in their place."""
    other = small_run(tmp_path / "other", **SHORT)

    def opened(path: Path, *others: Any) -> Subject:
        subject = open_run(path, *others)
        its = subject.reference
        if path == other.path:
            drawn = its.training, of_places(its.held_out, np.arange(FEWER))
            its = replace(its, crops=two_crops(subject), drawn=drawn)
        return replace(subject, reference=its)

    words = (*QUICK, "--no_attacks", "--output_dir", tmp_path / "out")
    command("compare", run.path, other.path, *words)
    before = report_in(run.audit_of(None)).headline.threshold
    monkeypatch.setattr("memshield.runs.compare.open_run", opened)
    thresholds = []
    for paths in ((run.path, other.path), (other.path, run.path)):
        command("compare", *paths, *words)
        headlines = [report_in(one.audit_of(None)).headline for one in (run, other)]
        thresholds += [one.threshold for one in headlines]
        assert [one.control_count for one in headlines] == [FEWER, FEWER]
    assert len(set(thresholds)) == 1
    assert thresholds[0] != before


def test_each_report_has_the_sizes_and_crops_that_its_own_run_was_trained_in(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Models of pixels have one size, and the pictures are square: what a LoRA's settings and other
    # pictures say is put in their place.
    sizes = ((8, 8), (8, 16))
    other = RunDir(tmp_path / "bucketed")
    shutil.copytree(run.path, other.path)
    text = other.config.read_text()
    other.config.write_text(text.replace("hub_license: null", "hub_license: mit"))
    monkeypatch.setattr(
        "memshield.audit.reference.sizes_of",
        lambda config: sizes if config.hub_license == "mit" else (),
    )

    def opened(path: Path, *others: Any) -> Subject:
        subject = open_run(path, *others)
        crops = 7 if path == other.path else 0
        return replace(subject, reference=replace(subject.reference, random_crops=crops))

    monkeypatch.setattr("memshield.runs.compare.open_run", opened)
    words = (*QUICK, "--no_attacks", "--output_dir", tmp_path / "out")
    for first, second in ((run, other), (other, run)):
        command("compare", first.path, second.path, *words)
        for found, its, crops in ((run, (), 0), (other, sizes, 7)):
            data = report_in(found.audit_of(None)).data
            assert (data.buckets, data.random_crops) == (its, crops)


def test_runs_of_other_pictures_are_refused_before_any_work(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = small_run(tmp_path / "other", seed=1, **SHORT)
    said = refused(capsys, "compare", run.path, other.path, *QUICK)
    assert "was trained on other pictures or captions" in said


@pytest.mark.parametrize("change", [{"held_out_fraction": 0.3}, {"resolution": 16}])
def test_runs_that_hold_out_or_cut_otherwise_are_refused(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, float]
) -> None:
    other = small_run(tmp_path / "other", **SHORT, **change)
    assert "holds other ones out" in refused(capsys, "compare", run.path, other.path, *QUICK)


@pytest.mark.parametrize("number", [None, 2])
def test_what_is_over_the_budget_is_not_promoted(number: int | None, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none is within(.|\n)*Nothing was promoted"):
        _promote(tmp_path, number, Choice(0, within=False, reason="none is within"))


def test_refused_flags(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert "0 to 1" in refused(capsys, "compare", run.path, "--budget", 2)
    assert "Add --budget" in refused(capsys, "compare", run.path, "--promote")
    assert "Add --budget" in refused(capsys, "compare", run.path, "--alpha", 0.4)
    assert "config: unknown setting" in refused(capsys, "compare", run.path, "--config", "a.yaml")
    assert "named twice" in refused(capsys, "compare", run.path, run.path)
    assert "holds no run" in refused(capsys, "compare", run.path / "rounds")
