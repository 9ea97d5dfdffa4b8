"""The queue: order, devices, limits, several servers and many people at once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from memshield.errors import UserError
from memshield.jobs.commands import ROOT
from memshield.jobs.limits import JobLimits
from memshield.jobs.records import Job
from memshield.jobs.service import Jobs
from tests.jobs.children import DEMO, SLEEPS, begun, ended, local, open_jobs, until, view


def ran(root: Path) -> list[str]:
    """Ids of the jobs that ran, in the order in which they did."""
    path = root / "ran.txt"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.process
def test_jobs_run_one_after_the_other_in_the_order_they_came(root: Path) -> None:
    jobs = open_jobs(root)
    submitted = [local(jobs) for _ in range(4)]
    assert [jobs.position(job) for job in submitted] == [1, 2, 3, 4]
    assert view(jobs, submitted[2]).training.words == "Waiting, number 3 in the queue"
    until(lambda: len(ran(root)) == 4, jobs=jobs)
    assert ran(root) == [job.id for job in submitted]
    until(lambda: all(ended(jobs, job) for job in submitted), jobs=jobs)
    assert jobs.position(submitted[0]) is None
    assert [job.id for job in jobs.list("")] == [job.id for job in reversed(submitted)]
    jobs.close()


@pytest.mark.process
def test_a_device_has_one_job_at_a_time(root: Path) -> None:
    jobs = open_jobs(root, SLEEPS, devices=["0", "1"])
    submitted = [local(jobs) for _ in range(3)]
    until(lambda: all(begun(jobs, job) for job in submitted[:2]), jobs=jobs)
    tasks = [jobs.get("", job.id).tasks[0] for job in submitted]
    assert [task.device for task in tasks] == ["0", "1", None]
    assert jobs.position(submitted[2]) == 1
    jobs.stop("", submitted[1].id)
    until(lambda: begun(jobs, submitted[2]), jobs=jobs)
    assert jobs.get("", submitted[2].id).tasks[0].device == "1"
    jobs.close()


@pytest.mark.process
def test_a_hundred_jobs_of_twenty_people_at_once(root: Path) -> None:
    """None is lost, none runs twice, and everybody's order is kept."""
    jobs = open_jobs(root, devices=["0", "1"])
    jobs.scheduler.run()
    mine: dict[str, list[Job]] = {f"user-{i}": [] for i in range(20)}
    start = threading.Barrier(len(mine))

    def submit(owner: str) -> None:
        start.wait()
        for _ in range(5):
            mine[owner].append(jobs.submit(owner, DEMO))

    threads = [threading.Thread(target=submit, args=(owner,)) for owner in mine]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [job for of_one in mine.values() for job in of_one]
    until(lambda: len(ran(root)) >= 100, 120)
    until(lambda: all(ended(jobs, job) for job in everything))
    assert sorted(ran(root)) == sorted(job.id for job in everything)
    tasks = sorted((job.tasks[0] for job in everything), key=lambda task: task.number)
    started = [jobs.get(job.owner, job.id).tasks[0].started for job in everything]
    by_number = dict(zip([job.tasks[0].number for job in everything], started, strict=True))
    times = [by_number[task.number] for task in tasks]
    assert times == sorted(times, key=lambda at: at or 0)
    for owner, of_one in mine.items():
        numbers = [job.tasks[0].number for job in of_one]
        assert numbers == sorted(numbers)
        assert [job.id for job in jobs.list(owner)] == [job.id for job in reversed(of_one)]
    jobs.close()


SERVER = """
import sys
from pathlib import Path
from tests.jobs.children import open_jobs, until
root = Path(sys.argv[1])
jobs = open_jobs(root, devices=["0", "1", "2"])
print("ready", flush=True)
sys.stdin.readline()
jobs.scheduler.run()
until(lambda: all(job.current is None for job in jobs.list("")), 120)
jobs.close()
"""


@pytest.mark.process
def test_several_servers_on_one_store_start_nothing_twice(root: Path) -> None:
    here = open_jobs(root, devices=["0", "1", "2"])
    ids = [local(here).id for _ in range(20)]
    others = [
        subprocess.Popen(
            [sys.executable, "-c", SERVER, str(root)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for other in others:
        assert other.stdout is not None and other.stdout.readline() == "ready\n"
    for other in others:
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
    here.scheduler.run()
    for other in others:
        other.communicate(timeout=120)
        assert other.returncode == 0
    until(lambda: all(job.current is None for job in here.list("")))
    assert sorted(ran(root)) == sorted(ids)
    here.close()


@pytest.mark.process
def test_two_servers_of_one_process_start_nothing_twice(root: Path) -> None:
    servers = [open_jobs(root, devices=["0", "1"]) for _ in range(2)]
    ids = [local(servers[i % 2]).id for i in range(20)]
    for server in servers:
        server.scheduler.run()
    until(lambda: all(job.current is None for job in servers[0].list("")))
    assert sorted(ran(root)) == sorted(ids)
    for server in servers:
        server.close()


@pytest.mark.process
def test_the_queue_outlives_the_server(root: Path) -> None:
    first = open_jobs(root)
    ids = [local(first).id for _ in range(3)]
    first.close()
    second = open_jobs(root)
    until(lambda: len(ran(root)) == 3, jobs=second)
    assert ran(root) == ids
    second.close()


@pytest.mark.process
def test_what_waits_leaves_the_queue_when_it_is_stopped(root: Path) -> None:
    jobs = open_jobs(root)
    first, second = local(jobs), local(jobs)
    jobs.stop("", first.id)
    assert jobs.position(second) == 1
    assert view(jobs, first).training.words == "Taken out of the queue"
    assert view(jobs, first).actions == ("resume", "delete")
    with pytest.raises(UserError, match="nothing of it runs or waits"):
        jobs.stop("", first.id)
    jobs.resume("", first.id)
    assert jobs.position(jobs.get("", first.id)) == 2
    until(lambda: len(ran(root)) == 2, jobs=jobs)
    assert ran(root) == [second.id, first.id]
    jobs.close()


def test_one_owner_has_only_so_many_in_the_queue(root: Path) -> None:
    jobs = open_jobs(root, limits=JobLimits(queued=2))
    kept = [jobs.submit("ada", DEMO) for _ in range(2)]
    with pytest.raises(UserError, match="2 of yours wait already"):
        jobs.submit("ada", DEMO)
    assert len(list((root / "jobs").iterdir())) == 2
    jobs.submit("bob", DEMO)
    jobs.stop("ada", kept[0].id)
    jobs.submit("ada", DEMO)
    settings = jobs.folders.settings(kept[0].id)
    before = settings.read_text()
    with pytest.raises(UserError, match="2 of yours wait already"):
        jobs.resume("ada", kept[0].id, {"gradient_checkpointing": True})
    assert settings.read_text() == before, "the next start is as it was"
    jobs.stop("ada", kept[1].id)
    jobs.resume("ada", kept[0].id, {"gradient_checkpointing": True})
    assert "gradient_checkpointing: true" in settings.read_text()
    jobs.close()


@pytest.mark.process
def test_a_job_does_one_thing_at_a_time(root: Path) -> None:
    jobs = open_jobs(root, SLEEPS)
    job = local(jobs)
    with pytest.raises(UserError, match="it is waiting already"):
        jobs.resume("", job.id)
    jobs.scheduler.step()
    for ask in (jobs.resume, jobs.audit, jobs.publish):
        with pytest.raises(UserError, match="it is running"):
            ask("", job.id)
    jobs.close()


@pytest.mark.process
def test_a_submitted_job_starts_at_once(root: Path) -> None:
    jobs: Jobs = open_jobs(root)
    jobs.scheduler.run()
    time.sleep(0.1)
    begun_at = time.monotonic()
    job = local(jobs)
    until(lambda: jobs.get("", job.id).tasks[0].started is not None)
    assert time.monotonic() - begun_at < 0.5
    until(lambda: ended(jobs, job))
    jobs.close()
