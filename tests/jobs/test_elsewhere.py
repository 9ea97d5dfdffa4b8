"""Runs in another place: what a server does that cannot reach it, and what it keeps from them."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memshield.config.file import make_config, to_yaml
from memshield.errors import UserError
from memshield.jobs import scheduler
from memshield.jobs.backends.seam import Begun, Look, Order
from memshield.jobs.records import Found, Job, Place, UnansweredError
from memshield.jobs.service import Jobs
from memshield.rundir import RunDir, StatusFile
from tests.jobs.children import DEMO, DONE, ended, open_jobs, task_of, until, view

PLACE = Place("t4-small", 3600)


class Somewhere:
    """A place that notes what it is asked for, and whose tasks run until they are stopped."""

    def __init__(self, token_of: Callable[[str], str | None]) -> None:
        self.token_of = token_of
        self.asked: list[str] = []
        self.fails: Exception | None = None
        self.known: Begun | None = None
        self.lost: Exception | None = None
        self.found: list[Found] = []
        self.problem: str | None = None
        self.runs, self.stopped = True, False
        self.answers = threading.Event()
        self.answers.set()

    def new_run(self, name: str) -> str:
        return f"{name}-1"

    def start(self, order: Order, token: str | None) -> Begun:
        self.asked.append("start")
        self.answers.wait(10)
        if self.fails is not None:
            raise self.fails
        assert order.told is not None
        order.told.write_text('{"hardware": "t4-small", "url": "https://hub/jobs/1"}')
        order.run.path.mkdir(exist_ok=True)
        status = StatusFile(order.run, 1)
        status.set("running", total_steps=10)
        status.close()
        return Begun(time.time())

    def find(self, order: Order) -> Begun | None:
        self.asked.append(f"find in {threading.current_thread().name}")
        if self.lost is not None:
            raise self.lost
        return self.known

    def may_have_run(self, order: Order) -> bool:
        return False

    def look(self, order: Order) -> Look:
        return Look(self.runs, 0 if self.stopped else None, self.problem, self.stopped)

    def stop(self, order: Order) -> None:
        self.asked.append("stop")
        status = StatusFile(order.run, 1)
        status.set("stopped", "asked to")
        status.close()
        self.runs = False

    def kill(self, order: Order) -> None:
        self.asked.append("kill")

    def forget(self, order: Order) -> None:
        self.asked.append("forget")

    def has_news(self) -> bool:
        return False

    def runs_of(self, owner: str) -> Iterable[Found]:
        return self.found

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at once a second is looked at sooner: each test waits for a few of them."""
    monkeypatch.setattr(scheduler, "SECONDS", 0.2)


@pytest.fixture
def jobs(root: Path) -> Iterable[Jobs]:
    opened = open_jobs(root, elsewhere=Somewhere)
    sign_in(opened)
    yield opened
    opened.close()


def sign_in(jobs: Jobs, seconds: float = 1000.0) -> None:
    jobs.places.tokens.keep("ada", "hf_x", time.time() + seconds)


def place_of(jobs: Jobs) -> Somewhere:
    assert isinstance(jobs.places.backend, Somewhere)
    return jobs.places.backend


def begun(jobs: Jobs) -> Job:
    job = jobs.submit("ada", DEMO, place=PLACE)
    until(lambda: task_of(jobs, job).start_time is not None, jobs=jobs)
    return job


def test_who_is_signed_out_is_not_told_that_it_stops(jobs: Jobs) -> None:
    job = begun(jobs)
    jobs.places.tokens.forget("hf_x")
    with pytest.raises(UserError, match="you are not signed in for them") as refused:
        jobs.stop("ada", job.id)
    assert "https://hub/jobs/1" in str(refused.value)
    assert task_of(jobs, job).stop_asked is None
    sign_in(jobs)
    jobs.stop("ada", job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    assert "stop" in place_of(jobs).asked


def test_silence_is_the_places_to_tell(root: Path) -> None:
    late = [0.0]
    jobs = open_jobs(root, elsewhere=Somewhere, now=lambda: time.time() + late[0])
    sign_in(jobs, 10_000)
    job = begun(jobs)
    late[0] = 3000.0
    assert "no sign of life" not in view(jobs, job).training.words
    jobs.close()


def test_what_is_deleted_here_is_deleted_there_though_it_waits_to_go_on(jobs: Jobs) -> None:
    job = begun(jobs)
    jobs.stop("ada", job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    jobs.places.tokens.forget("hf_x")
    jobs.resume("ada", job.id)
    jobs.scheduler.step()
    assert task_of(jobs, job).state == "queued"
    sign_in(jobs)
    jobs.delete("ada", job.id)
    assert "forget" in place_of(jobs).asked
    assert jobs.list("ada") == []


def test_a_start_without_an_answer_is_looked_for_and_not_done_twice(jobs: Jobs) -> None:
    there = place_of(jobs)
    there.fails, there.known = UnansweredError("submit", "no answer"), Begun(7.0)
    job = jobs.submit("ada", DEMO, place=PLACE)
    until(lambda: task_of(jobs, job).start_time == 7.0, jobs=jobs)
    assert there.asked.count("start") == 1
    # The queue of this machine does not wait for it.
    assert "find in MainThread" not in there.asked


def test_a_start_without_an_answer_is_not_repeated_before_the_place_lists_it(root: Path) -> None:
    late = [0.0]
    jobs = open_jobs(root, elsewhere=Somewhere, now=lambda: time.time() + late[0])
    sign_in(jobs, 10_000)
    there = place_of(jobs)
    there.fails = UnansweredError("submit", "no answer")
    job = jobs.submit("ada", DEMO, place=PLACE)
    until(lambda: sum("find" in one for one in there.asked) > 2, jobs=jobs)
    assert there.asked.count("start") == 1
    assert task_of(jobs, job).state == "running"
    there.fails, late[0] = None, 61.0
    until(lambda: task_of(jobs, job).start_time is not None, jobs=jobs)
    assert there.asked.count("start") == 2
    jobs.close()


def test_a_start_without_an_answer_is_looked_for_once_a_second(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "SECONDS", 1.0)
    there = place_of(jobs)
    there.fails = UnansweredError("submit", "no answer")
    jobs.submit("ada", DEMO, place=PLACE)
    until(lambda: any("find" in one for one in there.asked), jobs=jobs)
    end = time.monotonic() + 2.5
    until(lambda: time.monotonic() > end, jobs=jobs)
    assert sum("find" in one for one in there.asked) <= 4


def finish(run: RunDir) -> None:
    status = StatusFile(run, 1)
    status.set("done")
    status.close()


def test_what_was_stopped_elsewhere_is_shown_as_stopped(jobs: Jobs) -> None:
    job = begun(jobs)
    jobs.folders.run(job).status.unlink()  # before it wrote any
    there = place_of(jobs)
    there.runs, there.stopped = False, True
    until(lambda: ended(jobs, job), jobs=jobs)
    assert view(jobs, job).training.state == "stopped"


@pytest.mark.process
def test_a_run_of_another_computer_is_audited_there_and_published(root: Path) -> None:
    """Its pictures lay on that computer, and neither task reads them here."""
    jobs = open_jobs(root, DONE, elsewhere=Somewhere)
    sign_in(jobs)
    jobs.tokens.keep("ada", "hf_x", time.time() + 1000)
    settings = {**DEMO, "dataset_name": None, "train_data_dir": "/home/ada/pictures"}
    there = place_of(jobs)
    there.found = [Found(replace(PLACE, run="run-1", found=True), "run", settings, 5.0)]
    assert jobs.places.adopt("ada") == 1
    (job,) = jobs.list("ada")
    there.known = Begun(7.0)
    until(lambda: task_of(jobs, job).start_time is not None, jobs=jobs)
    run = jobs.folders.run(job)
    run.path.mkdir(exist_ok=True)
    run.config.write_text(jobs.folders.settings(job.id).read_text())
    run.model.mkdir()
    finish(run)
    there.runs = False
    until(lambda: ended(jobs, job), jobs=jobs)
    there.runs = True
    jobs.audit("ada", job.id, there=True)
    until(lambda: task_of(jobs, job).start_time is not None, jobs=jobs)
    assert "start" in there.asked
    finish(run)
    there.runs = False
    until(lambda: ended(jobs, job), jobs=jobs)
    assert task_of(jobs, job).problem is None
    jobs.publish("ada", job.id, {"hub_model_id": "ada/x"})
    until(lambda: ended(jobs, job), jobs=jobs)
    assert task_of(jobs, job).work.kind == "publish"
    assert task_of(jobs, job).problem is None
    # An audit on this machine would read them.
    jobs.audit("ada", job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    assert "nor among what you uploaded" in str(task_of(jobs, job).problem)
    jobs.close()


def test_a_search_that_breaks_is_tried_again(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    there = place_of(jobs)
    there.fails, there.lost = UnansweredError("submit", "no answer"), ZeroDivisionError()
    job = jobs.submit("ada", DEMO, place=PLACE)
    until(lambda: "cannot be looked for" in caplog.text, jobs=jobs)
    there.lost, there.known = None, Begun(7.0)
    until(lambda: task_of(jobs, job).start_time == 7.0, jobs=jobs)


def test_what_cannot_be_deleted_there_keeps_its_position_in_the_queue(jobs: Jobs) -> None:
    job = begun(jobs)
    jobs.stop("ada", job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    jobs.places.tokens.forget("hf_x")
    jobs.resume("ada", job.id)
    with pytest.raises(UserError, match="without your sign-in for Jobs"):
        jobs.delete("ada", job.id)
    assert task_of(jobs, job).state == "queued"
    assert view(jobs, job).position == 1
    sign_in(jobs)
    place_of(jobs).runs = True
    until(lambda: task_of(jobs, job).start_time is not None, jobs=jobs)


def test_a_start_that_cannot_be_noted_is_found(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The job may be billed: it does not count as ended."""
    there, note = place_of(jobs), jobs._store.started

    def full(*words: Any) -> None:
        monkeypatch.setattr(jobs._store, "started", note)
        there.known = Begun(7.0)
        raise UserError("jobs", "the disk is full", "Make room.")

    monkeypatch.setattr(jobs._store, "started", full)
    job = jobs.submit("ada", DEMO, place=PLACE)
    until(lambda: task_of(jobs, job).start_time == 7.0, jobs=jobs)
    assert task_of(jobs, job).state == "running"
    assert "could not be noted: jobs: the disk is full" in caplog.text


def test_what_was_sent_for_a_start_without_an_answer_is_deleted(jobs: Jobs) -> None:
    job = begun(jobs)
    jobs.stop("ada", job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    task = task_of(jobs, job)
    # As it is put back in the queue, and taken out of it by the deletion.
    jobs._store._change("UPDATE tasks SET started = NULL WHERE number = ?", task.number)
    jobs.delete("ada", job.id)
    assert "forget" in place_of(jobs).asked


def test_a_refused_deletion_leaves_what_waits_in_the_queue(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begun(jobs)
    jobs.stop("ada", job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    jobs.places.tokens.forget("hf_x")
    jobs.resume("ada", job.id)
    monkeypatch.setattr("memshield.jobs.service.runs_elsewhere", lambda *words: True)
    with pytest.raises(UserError, match="it is running, started elsewhere"):
        jobs.delete("ada", job.id)
    assert task_of(jobs, job).state == "queued"


def test_what_never_began_is_not_started_to_be_fetched(jobs: Jobs) -> None:
    there = place_of(jobs)
    there.fails = UserError("job", "there is no credit", "Buy some.")
    job = jobs.submit("ada", DEMO, place=PLACE)
    until(lambda: ended(jobs, job), jobs=jobs)
    with pytest.raises(UserError, match="it never began"):
        jobs.fetch("ada", job.id)
    assert there.asked.count("start") == 1


def test_files_that_never_came_are_asked_for_again(jobs: Jobs) -> None:
    job, there = begun(jobs), place_of(jobs)
    run = jobs.folders.run(job)
    finish(run)
    there.problem, there.runs = "It is done, and cannot be brought here: the disk is full", False
    until(lambda: ended(jobs, job), jobs=jobs)
    assert view(jobs, job).actions == ("fetch", "delete")
    there.problem, there.runs = None, True
    jobs.fetch("ada", job.id)
    assert task_of(jobs, job).state == "running"
    # Given up halfway, it can be asked for once more.
    run.model.mkdir()
    there.problem, there.runs = "It is done, and cannot be brought here: the disk is full", False
    until(lambda: ended(jobs, job), jobs=jobs)
    assert "fetch" in view(jobs, job).actions
    there.problem, there.runs = None, True
    jobs.fetch("ada", job.id)
    assert task_of(jobs, job).state == "running"
    there.runs = False
    until(lambda: ended(jobs, job), jobs=jobs)
    assert task_of(jobs, job).problem is None
    assert view(jobs, job).actions == ("audit", "publish", "delete")
    with pytest.raises(UserError, match="its files are here"):
        jobs.fetch("ada", job.id)
    with pytest.raises(UserError, match="there is no job"):
        jobs.fetch("bob", job.id)


def test_a_full_disk_ends_no_search_for_runs(
    jobs: Jobs, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(id: str) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    place_of(jobs).found = [Found(replace(PLACE, run="x-1", found=True), "x", DEMO, 5.0)]
    with monkeypatch.context() as patch:
        patch.setattr(jobs.folders, "make", full)
        assert jobs.places.adopt("ada") == 0
    assert "No space left on device" in caplog.text
    assert jobs.places.adopt("ada") == 1
    assert [job.name for job in jobs.list("ada")] == ["x"]


@pytest.mark.parametrize("began", [True, False])
def test_one_that_is_stopped_before_it_is_listed_is_looked_for_all_the_same(
    root: Path, began: bool
) -> None:
    late = [0.0]
    jobs = open_jobs(root, elsewhere=Somewhere, now=lambda: time.time() + late[0])
    sign_in(jobs, 10_000)
    there = place_of(jobs)
    there.fails = UnansweredError("submit", "no answer")
    there.answers.clear()
    job = jobs.submit("ada", DEMO, place=PLACE)
    until(lambda: "start" in there.asked, jobs=jobs)
    jobs.stop("ada", job.id)
    there.answers.set()
    until(lambda: sum("find" in one for one in there.asked) > 2, jobs=jobs)
    assert task_of(jobs, job).state == "running", "it may run, and be billed"
    if began:
        jobs.folders.run(job).path.mkdir()
        there.known = Begun(7.0)
    else:
        late[0] = 61.0
    until(lambda: ended(jobs, job), jobs=jobs)
    assert there.asked.count("start") == 1
    assert ("stop" in there.asked) == began
    jobs.close()


def test_a_start_that_breaks_ends_with_words(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    place_of(jobs).fails = ZeroDivisionError()
    job = jobs.submit("ada", DEMO, place=PLACE)
    until(lambda: ended(jobs, job), jobs=jobs)
    assert "could not be started" in str(task_of(jobs, job).problem)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.process
def test_a_runs_own_settings_reach_for_nothing_of_others(root: Path) -> None:
    jobs = open_jobs(root, DONE)
    job = jobs.submit("ada", DEMO)
    until(lambda: ended(jobs, job), jobs=jobs)
    pictures = jobs.folders.uploads("bob") / "pictures"
    pictures.mkdir(parents=True)
    # As it could come back from a bucket of ada's own.
    run = jobs.folders.run(jobs.get("ada", job.id))
    values = {**DEMO, "dataset_name": None, "train_data_dir": str(pictures)}
    run.config.write_text(to_yaml(make_config({**values, "output_dir": str(run.path)})))
    jobs.audit("ada", job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    assert "nor among what you uploaded" in str(task_of(jobs, job).problem)
    jobs.close()
