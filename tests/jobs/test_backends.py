"""A further place to run tasks is one class: here, threads of the test."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from memshield.jobs.backends.seam import Backend, Begun, Look, Order
from memshield.rundir import EventLog, StatusFile
from tests.jobs.children import ended, local, open_jobs, task_of, until, view


class Threads:
    """Runs a pretended training of ten steps in a thread, which a stop ends with a checkpoint."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[threading.Thread, threading.Event]] = {}

    def start(self, order: Order, token: str | None) -> Begun:
        begun, asked = Begun(time.time()), threading.Event()
        thread = threading.Thread(target=self._train, args=(order, asked))
        self._running[order.mark] = thread, asked
        thread.start()
        return begun

    def _train(self, order: Order, asked: threading.Event) -> None:
        run = order.run
        run.path.mkdir(exist_ok=True)
        status, events = StatusFile(run, 1), EventLog(run, 1)
        # The process is older than the task.
        status.set("running", total_steps=10, processes=[{**PROCESS, "start_time": time.time()}])
        order.output.write_text("begun\n")
        events.write("step", step=3, round=1, shard=1, eta_s=7.0, loss=0.5, kept=0.9, lr=0.1)
        asked.wait(30)
        run.checkpoint(3).mkdir()
        status.set("stopped", "asked to")
        status.close()

    def find(self, order: Order) -> Begun | None:
        return None

    def may_have_run(self, order: Order) -> bool:
        return order.mark in self._running

    def look(self, order: Order) -> Look:
        thread, _ = self._running[order.mark]
        return Look(True) if thread.is_alive() else Look(False, 0, "the threads were given back")

    def stop(self, order: Order) -> None:
        self._running[order.mark][1].set()

    def kill(self, order: Order) -> None:
        self.stop(order)

    def has_news(self) -> bool:
        return False


PROCESS = {"rank": 0, "host": "elsewhere", "pid": 1}


def test_a_job_in_another_place_is_shown_and_stopped_as_any(root: Path) -> None:
    backend: Backend = Threads()
    jobs = open_jobs(root, backend=backend)
    job = local(jobs)
    until(lambda: view(jobs, job).training.words == "Training, step 3 of 10", jobs=jobs)
    assert task_of(jobs, job).pid is None
    assert jobs.log("", job.id) == "begun"
    jobs.stop("", job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    shown = view(jobs, job)
    assert (shown.training.state, shown.training.reason) == ("stopped", "asked to")
    assert shown.actions == ("resume", "delete")
    assert task_of(jobs, job).problem == "the threads were given back"
    jobs.close()


class Fragile(Threads):
    """Breaks at its first start and at its first look."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()

    def start(self, order: Order, token: str | None) -> Begun:
        self._break("start")
        return super().start(order, token)

    def look(self, order: Order) -> Look:
        self._break("look")
        return super().look(order)

    def _break(self, what: str) -> None:
        if what not in self.broken:
            self.broken.add(what)
            raise ZeroDivisionError(what)


def test_what_breaks_in_a_backend_does_not_end_the_queue(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = open_jobs(root, backend=Fragile())
    first, second = local(jobs), local(jobs)
    jobs.scheduler.run()
    until(lambda: ended(jobs, first))
    assert "could not be started" in str(task_of(jobs, first).problem)
    until(lambda: "queue could not be looked through" in caplog.text)
    jobs.stop("", second.id)
    until(lambda: ended(jobs, second))
    assert view(jobs, second).training.state == "stopped"
    jobs.close()
