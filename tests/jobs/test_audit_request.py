"""What an audit may be asked for, and the plain twin of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memshield.config.file import make_config, read_yaml, to_yaml
from memshield.config.flags import given
from memshield.errors import UserError
from memshield.jobs.audit_request import AuditAsked
from memshield.jobs.commands import Commands
from memshield.jobs.records import Job
from memshield.jobs.service import Jobs
from memshield.jobs.settings import plain_name
from tests.jobs.children import DEMO, DONE, ended, open_jobs, task_of, until

MITIGATED: dict[str, Any] = {
    **DEMO, "num_shards": 4, "skip_threshold": 0.5, "num_rounds": 3, "seed": 7,
    "held_out_fraction": 0.3, "memorization_budget": 0.02, "outer_momentum": 0.5,
    "hub_model_id": "ada/x", "hub_private_repo": False,
}  # fmt: skip


def done(root: Path, owner: str = "ada", rounds: int = 2, **changes: Any) -> tuple[Jobs, Job]:
    """A job that is done, with rounds."""
    jobs = open_jobs(root, DONE)
    job = jobs.submit(owner, {**MITIGATED, **changes})
    until(lambda: ended(jobs, job), jobs=jobs)
    for number in range(1, rounds + 1):
        (jobs.folders.run(job).rounds / str(number)).mkdir(parents=True)
    return jobs, job


@pytest.mark.process
def test_all_rounds_are_audited_by_the_command_that_a_person_types(root: Path) -> None:
    from memshield.runs.compare import _parser

    jobs, job = done(root)
    jobs.audit("ada", job.id, "all", 40)
    task = task_of(jobs, job)
    assert (task.work.kind, task.work.needs_device) == ("audit", True)
    asked = AuditAsked("all", 40, []).task(jobs.folders.run(job), jobs.config("ada", job.id))
    words = Commands(on_gpu=False).on_run(jobs.folders.run(job).path, asked)
    assert words[1:4] == ["-m", "memshield", "compare"]
    # Of a single run, compare takes all rounds.
    parsed = given(_parser(), words[4:])
    assert parsed["runs"] == [str(jobs.folders.run(job).path)]
    assert parsed["num_images"] == 40
    assert task.work.command[3:] == tuple(words[4:])
    until(lambda: ended(jobs, job), jobs=jobs)
    jobs.audit("ada", job.id, "all")
    assert "--num_images" not in task_of(jobs, job).work.command
    jobs.close()


@pytest.mark.process
@pytest.mark.parametrize("count", [3, 9, -1, 0, 10**9, 10_001, True, 40.0, "40", [40], "../x"])
def test_a_number_of_pictures_that_makes_no_sense(root: Path, count: Any) -> None:
    jobs, job = done(root)
    for round in (None, 1, "all"):
        with pytest.raises(UserError, match="num_images: "):
            jobs.audit("ada", job.id, round, count)
    assert task_of(jobs, job).work.kind == "train"
    jobs.close()


@pytest.mark.process
def test_what_cannot_be_audited(root: Path) -> None:
    jobs, job = done(root, rounds=0)
    with pytest.raises(UserError, match="there is no round yet"):
        jobs.audit("ada", job.id, "all")
    rounds: list[Any] = [1, "1", "../x", True, 1.5, [], {"a": 1}]
    for round in rounds:
        with pytest.raises(UserError, match="there is no such model yet"):
            jobs.audit("ada", job.id, round)
    jobs.close()


@pytest.mark.process
def test_what_stands_beside_is_the_owners(root: Path) -> None:
    jobs, job = done(root)
    own, bobs = jobs.submit("ada", DEMO), jobs.submit("bob", DEMO)
    odd: list[Any] = [bobs.id, "../x", "", "\ud800", 5, None, {}, ["x"]]
    for other in odd:
        with pytest.raises(UserError, match="there is no job"):
            jobs.audit("ada", job.id, beside=[other])
    with pytest.raises(UserError, match="it has no base"):
        jobs.audit("ada", job.id, beside=["base"])
    with pytest.raises(UserError, match="too many"):
        jobs.audit("ada", job.id, beside=[own.id] * 7)
    with pytest.raises(UserError, match="all rounds are set beside one another"):
        jobs.audit("ada", job.id, "all", beside=[own.id])
    jobs.audit("ada", job.id, 1, beside=[own.id])
    words = task_of(jobs, job).work.command
    assert words[-2:] == ("--beside", str(jobs.folders.run(own).path))
    jobs.close()


@pytest.mark.parametrize("id", [None, 5, {}, [], "\ud800", "a\0b", "x" * 10_000])
def test_an_id_of_any_kind_is_answered_in_words(root: Path, id: Any) -> None:
    jobs = open_jobs(root)
    for ask in (jobs.get, jobs.view, jobs.audit, jobs.delete, jobs.submit_plain, jobs.stop):
        with pytest.raises(UserError, match="there is no job"):
            ask("ada", id)
    jobs.close()


@pytest.mark.process
def test_the_plain_twin_differs_in_nothing_but_the_mitigation(root: Path) -> None:
    jobs, job = done(root)
    twin = jobs.submit_plain("ada", job.id)
    assert (twin.owner, twin.name) == ("ada", f"{job.name}-plain")
    ours, theirs = jobs.config("ada", job.id), jobs.config("ada", twin.id)
    differ = {
        name for name, value in theirs.model_dump().items() if value != getattr(ours, name)
    }  # fmt: skip
    assert differ == {
        "num_shards", "skip_threshold", "outer_momentum", "memorization_budget", "hub_model_id",
        "hub_private_repo", "output_dir",
    }  # fmt: skip
    assert (theirs.num_shards, theirs.skip_threshold) == (1, 0)
    assert not theirs.push_to_hub
    with pytest.raises(UserError, match=f"its plain one is there already: {twin.title}"):
        jobs.submit_plain("ada", job.id)
    with pytest.raises(UserError, match="it is plain training itself"):
        jobs.submit_plain("ada", twin.id)
    with pytest.raises(UserError, match="there is no job"):
        jobs.submit_plain("bob", job.id)
    jobs.delete("ada", twin.id)
    assert jobs.submit_plain("ada", job.id).id != twin.id
    jobs.close()


@pytest.mark.process
def test_the_plain_twin_reads_what_was_read(root: Path) -> None:
    jobs, job = done(root)
    run = jobs.folders.run(job)
    # As the training leaves it: the commits are named, and defaults of the model filled in.
    read = {"dataset_revision": "abc", "shard_optimizer": "reset", "resolution": 8}
    run.config.write_text(to_yaml(make_config({**read_yaml(run.config), **read})))
    twin = jobs.config("ada", jobs.submit_plain("ada", job.id).id)
    assert (twin.dataset_revision, twin.resolution, twin.shard_optimizer) == ("abc", 8, None)
    jobs.close()


def test_the_name_of_a_twin_can_be_that_of_a_folder() -> None:
    assert plain_name("x" * 60) == "x" * 54 + "-plain"
    assert plain_name("digits") == "digits-plain"
