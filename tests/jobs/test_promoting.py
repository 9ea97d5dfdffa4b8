"""Making a round the model: what is copied, what is refused, and what looks current no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from filelock import FileLock, Timeout

from memshield.audit.report import REPORT, AuditedModel, Report
from memshield.digests import weights_sha256
from memshield.errors import UserError
from memshield.jobs import service
from memshield.jobs.records import Job
from memshield.jobs.service import Jobs
from memshield.rundir import RunDir, audit_lock_path, lock_path, publish_lock_path
from memshield.runs.promote import promote, promote_alone
from memshield.runs.publication import Publication
from tests.audit.reports import report_of
from tests.jobs.children import DONE, ended, local, open_jobs, until, view

pytestmark = pytest.mark.process

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def add_rounds(run: RunDir, count: int = 3) -> None:
    """Rounds with weights of their own, all but the last audited; the last is the model."""
    for number in range(1, count + 1):
        file = run.rounds / str(number) / WEIGHTS
        file.parent.mkdir(parents=True)
        file.write_bytes(b"weights of round %d" % number)
        if number < count:
            target = AuditedModel(name="run", kind="run", round=number)
            report_of(0.01 * number, 0.5, target=target).write(run.audit_of(number) / REPORT)
    promote(run, count)


def with_rounds(root: Path) -> tuple[Jobs, Job, RunDir]:
    """A job that is done, with three rounds."""
    jobs = open_jobs(root, DONE)
    job = local(jobs)
    until(lambda: ended(jobs, job), jobs=jobs)
    run = jobs.folders.run(job)
    add_rounds(run)
    return jobs, job, run


def model(run: RunDir) -> bytes:
    return (run.model / WEIGHTS).read_bytes()


def test_a_round_becomes_the_model_with_its_audit(root: Path) -> None:
    jobs, job, run = with_rounds(root)
    assert run.round_of_model() == 3
    assert not run.audit_of(None).exists()
    jobs.promote("", job.id, 1)
    assert model(run) == b"weights of round 1"
    assert run.round_of_model() == 1
    assert Report.read(run.audit_of(None) / REPORT).target.round == 1
    assert run.read_status()["state"] == "done"
    assert run.read_status()["reason"] == "round 1 is kept: chosen by hand"
    # One that was not audited is not spoken for by the audit of another.
    jobs.promote("", job.id, 3)
    assert not run.audit_of(None).exists()
    assert view(jobs, job).training.state == "done"
    jobs.close()


def test_an_audit_that_was_stopped_is_no_audit(root: Path) -> None:
    jobs, job, run = with_rounds(root)
    run.audit_of(3).mkdir()
    (run.audit_of(3) / "images.npy").touch()
    jobs.promote("", job.id, 3)
    assert not run.audit_of(None).exists()
    jobs.close()


@pytest.mark.parametrize("round", [4, 0, -1, "1", "../x", "all", 1.0, True, None, [1], {}])
def test_a_round_that_is_not_there(root: Path, round: Any) -> None:
    jobs, job, run = with_rounds(root)
    with pytest.raises(UserError, match="there is no such model yet") as refused:
        jobs.promote("", job.id, round)
    assert "It has the rounds: 1, 2, 3." in str(refused.value)
    assert model(run) == b"weights of round 3"
    jobs.close()


def test_no_audit_begins_while_a_round_is_copied(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, job, run = with_rounds(root)
    jobs.promote("", job.id, 1)
    assert (run.audit_of(None) / REPORT).is_file()
    audit = audit_lock_path(run.audit_of(None))
    found: list[str] = []
    monkeypatch.setattr("memshield.runs.promote.shutil.rmtree", _deleting(audit, found))
    for number in (3, 2):  # with an audit of the model, and without
        jobs.promote("", job.id, number)
    assert found and set(found) == {"locked"}
    jobs.close()


def _deleting(lock: Path, found: list[str]) -> Callable[..., None]:
    """A deletion that notes after it whether an audit of the model could begin."""

    def delete(path: Path, **options: Any) -> None:
        rmtree(path, **options)
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=0):
                found.append("free")
        except Timeout:
            found.append("locked")

    return delete


def test_a_job_that_is_busy_keeps_its_model(root: Path) -> None:
    jobs, job, run = with_rounds(root)
    jobs.audit("", job.id)
    with pytest.raises(UserError, match="it is waiting already"):
        jobs.promote("", job.id, 1)
    jobs.stop("", job.id)
    for path, words in ((lock_path(run), "trained"), (publish_lock_path(run), "published")):
        with FileLock(path), pytest.raises(UserError, match=f"is being {words}"):
            jobs.promote("", job.id, 1)
    with pytest.raises(UserError, match="there is no job"):
        jobs.promote("bob", job.id, 1)
    assert model(run) == b"weights of round 3"
    jobs.promote("", job.id, 1)
    assert model(run) == b"weights of round 1"
    jobs.close()


def test_nothing_is_begun_while_a_round_is_copied(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, job, run = with_rounds(root)
    said = []

    def copied(run: RunDir, number: int, reason: str) -> None:
        for ask in (jobs.audit, jobs.delete, lambda owner, id: jobs.promote(owner, id, 2)):
            with pytest.raises(UserError) as refused:
                ask("", job.id)
            said.append(refused.value.problem)
        promote_alone(run, number, reason)

    monkeypatch.setattr(service, "promote_alone", copied)
    jobs.promote("", job.id, 1)
    assert said == ["a round is just being made its model"] * 3
    assert model(run) == b"weights of round 1"
    jobs.delete("", job.id)
    jobs.close()


def test_a_copy_that_cannot_be_made_leaves_the_model(root: Path) -> None:
    jobs, job, run = with_rounds(root)
    (run.rounds / "1" / "gone").symlink_to(run.path / "nowhere")
    with pytest.raises(UserError, match="its copy cannot be made"):
        jobs.promote("", job.id, 1)
    assert model(run) == b"weights of round 3"
    assert list(run.path.glob(".model*")) == []
    jobs.promote("", job.id, 2)  # it is not held for good
    jobs.close()


def test_what_was_published_of_another_round_does_not_look_current(root: Path) -> None:
    jobs, job, run = with_rounds(root)
    Publication(run, "ada/x", "the command").ended(
        "done", step="done", weights=weights_sha256(run.model)
    )
    assert view(jobs, job).publishing.words == "Published"
    jobs.promote("", job.id, 1)
    shown = view(jobs, job).publishing
    assert (shown.state, shown.words) == ("done", "Published, but not this model")
    assert json.loads((run.path / "publish.json").read_text())["outdated"] is True
    jobs.promote("", job.id, 3)
    assert view(jobs, job).publishing.words == "Published"
    jobs.close()


def test_what_was_published_does_not_look_current_where_the_audit_cannot_be_copied(
    root: Path,
) -> None:
    jobs, job, run = with_rounds(root)
    Publication(run, "ada/x", "the command").ended(
        "done", step="done", weights=weights_sha256(run.model)
    )
    run.audit_of(None).write_text("in the way")
    with pytest.raises(UserError, match="its copy cannot be made"):
        jobs.promote("", job.id, 1)
    assert run.round_of_model() == 1
    assert view(jobs, job).publishing.words == "Published, but not this model"
    jobs.close()


def test_the_round_that_the_model_is_cannot_be_told_of_other_files(root: Path) -> None:
    jobs, _, run = with_rounds(root)
    (run.model / WEIGHTS).write_bytes(b"weights of nobody!")
    assert run.round_of_model() is None
    (run.model / WEIGHTS).unlink()
    assert run.round_of_model() is None
    jobs.close()
