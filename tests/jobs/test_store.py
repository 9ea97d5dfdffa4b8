"""The store's file: what is wrong with it is said in words, and nothing is half done."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from memshield.errors import UserError
from memshield.jobs.commands import ROOT
from memshield.jobs.records import LOCAL, Job, Work
from memshield.jobs.service import Jobs
from memshield.jobs.store import Store
from tests.jobs.children import DEMO, NOTES_ITSELF, ended, local, open_jobs, until

WORK = Work("train", ("train",))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "jobs.sqlite3")
    yield found
    found.close()


def job(id: str = "a", owner: str = "ada") -> Job:
    return Job(id, owner, "run", 1.0, ())


def test_a_full_disk_changes_nothing(store: Store) -> None:
    store.add(job(), WORK, 9)
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    large = Work("train", ("x" * 100_000,))
    with pytest.raises(UserError, match="the disk is full"):
        store.add(job("b"), large, 9)
    assert store.job("b") is None
    assert [found.id for found in store.jobs_of("ada")] == ["a"]
    store._db.execute("PRAGMA max_page_count = 100000")
    store.add(job("b"), large, 9)


def test_a_store_that_cannot_be_written(store: Store) -> None:
    store.add(job(), WORK, 9)
    store._db.execute("PRAGMA query_only = ON")
    with pytest.raises(UserError, match="it cannot be written"):
        store.add(job("b"), WORK, 9)
    assert store.job("a") is not None


def test_a_submission_that_is_not_stored_leaves_no_files(root: Path) -> None:
    jobs = open_jobs(root)
    local(jobs)
    jobs._store._db.execute("PRAGMA query_only = ON")
    with pytest.raises(UserError, match="it cannot be written"):
        local(jobs)
    assert len(list((root / "jobs").iterdir())) == 1
    jobs._store._db.execute("PRAGMA query_only = OFF")
    jobs.close()


@pytest.mark.process
def test_the_scheduler_outlives_a_store_that_cannot_be_written(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = open_jobs(root, NOTES_ITSELF)
    submitted = local(jobs)
    jobs._store._db.execute("PRAGMA query_only = ON")
    jobs.scheduler.run()
    until(lambda: "it cannot be written" in caplog.text)
    jobs._store._db.execute("PRAGMA query_only = OFF")
    until(lambda: ended(jobs, submitted))
    assert (root / "ran.txt").read_text().count("\n") == 1
    jobs.close()


def test_files_that_are_no_job_store(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite3"
    path.write_text("no database " * 100)
    with pytest.raises(UserError, match="it is no job store"):
        Store(path)
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(UserError, match="a job store of version 99"):
        Store(path)
    with pytest.raises(UserError, match="it cannot be opened"):
        Store(tmp_path / "nowhere" / "jobs.sqlite3")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be made"):
        open_jobs(tmp_path / "file" / "root")


def test_the_rules_are_the_databases(store: Store) -> None:
    """One task of a job, and one task a device, whatever a program does."""
    for id in ("a", "b"):
        store.add(job(id), WORK, 9)
    with pytest.raises(sqlite3.IntegrityError):
        store._change("INSERT INTO tasks SELECT 9, job, kind, command, needs_device, needs_token,"
                      " state, device, server, pid, start_time, started, stop_asked, exit_code,"
                      " problem, place FROM tasks WHERE number = 1")  # fmt: skip
    with pytest.raises(sqlite3.IntegrityError):
        store._change("UPDATE tasks SET state = 'running', device = 'cpu'")
    with pytest.raises(sqlite3.IntegrityError):
        store._change("UPDATE tasks SET state = 'paused'")


def test_deleting_and_starting_exclude_each_other(store: Store) -> None:
    store.add(job(), WORK, 9)
    found = store.job("a")
    assert found is not None
    claimed = store.claim(["cpu"], 1, "server", lambda owner, work: True, 2.0)
    assert claimed is not None
    with pytest.raises(UserError, match="it is running"):
        store.hide(found)
    store.end(claimed)
    store.hide(found)
    assert store.job("a") is None
    with pytest.raises(UserError, match="there is no job"):
        store.queue(found, WORK, 9)
    assert store.hidden() == ["a"]
    store.forget("a")
    assert store.hidden() == []


def test_work_without_a_device_waits_for_nobodys_device(store: Store) -> None:
    publish = Work("publish", ("publish",), needs_device=False)
    for id, work in (("a", WORK), ("b", WORK), ("c", publish), ("d", publish), ("e", publish)):
        store.add(job(id), work, 9)

    def claim() -> str | None:
        task = store.claim(["cpu"], 2, "server", lambda owner, work: True, 2.0)
        return task.job if task is not None else None

    assert [claim() for _ in range(4)] == ["a", "c", "d", None]
    waiting = {id: store.job(id) for id in ("b", "e")}
    assert all(found is not None and store.position(found.tasks[0]) == 1
               for found in waiting.values())  # fmt: skip


def test_many_threads_share_one_store(store: Store) -> None:
    claimed: list[str] = []
    for number in range(40):
        store.add(job(str(number)), WORK, 99)

    def take() -> None:
        while task := store.claim([str(n) for n in range(40)], 0, "s", lambda *_: True, 1.0):
            claimed.append(task.job)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed, key=int) == [str(number) for number in range(40)]


@pytest.mark.process
def test_several_servers_may_make_the_store_at_once(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from memshield.jobs.store import Store; "
        "sys.stdin.readline(); Store(Path(sys.argv[1])).close()"
    )
    for attempt in range(3):
        path = tmp_path / f"{attempt}.sqlite3"
        servers = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(path)], cwd=ROOT, stdin=subprocess.PIPE
            )
            for _ in range(4)
        ]
        for server in servers:
            assert server.stdin is not None
            server.stdin.write(b"\n")
            server.stdin.flush()
        for server in servers:
            server.communicate(timeout=60)
        assert [server.returncode for server in servers] == [0] * 4


def test_the_store_says_nothing_of_how_a_run_goes(root: Path) -> None:
    jobs = open_jobs(root)
    jobs.submit("ada", DEMO)
    columns = {
        row["name"]
        for table in ("jobs", "tasks")
        for row in jobs._store._db.execute(f"PRAGMA table_info({table})")
    }
    assert not columns & {
        "step",
        "loss",
        "reason",
        "error",
        "status",
        "config",
        "token",
        "owner_token",
    }
    jobs.close()


def test_a_copy_outlives_the_machine(tmp_path: Path) -> None:
    """As on a bucket: the copy is whole after every change, and the next machine begins with it."""
    bucket, disk = tmp_path / "bucket", tmp_path / "disk"
    bucket.mkdir()
    disk.mkdir()
    copy = bucket / "jobs.sqlite3"
    store = Store(disk / "jobs.sqlite3", copy)
    store.keep()
    written = copy.stat().st_mtime_ns
    store.keep()
    assert copy.stat().st_mtime_ns == written, "nothing changed, nothing is written"
    store.add(job("a" * 8), WORK, 1)
    store.keep()
    assert [path.name for path in bucket.iterdir()] == ["jobs.sqlite3"]
    # The machine is gone, with a change that was not kept.
    store.add(job("b" * 8, "bob"), WORK, 1)
    shutil.rmtree(disk)
    disk.mkdir()
    again = Store(disk / "jobs.sqlite3", copy)
    assert [one.id for one in again.jobs_of("ada")] == ["a" * 8]
    assert again.jobs_of("bob") == []
    # A disk that is there goes before the copy.
    again.add(job("c" * 8, "bob"), WORK, 1)
    again.close()
    assert len(Store(disk / "jobs.sqlite3", copy).jobs_of("bob")) == 1


@pytest.mark.process
def test_a_copy_that_cannot_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = Jobs(tmp_path / "bucket", ["cpu"], store=tmp_path / "disk" / "jobs.sqlite3")
    jobs.folders.store.mkdir()  # in the way, as a full or a read-only bucket would be
    jobs.delete(LOCAL, jobs.submit(LOCAL, DEMO).id)
    jobs.scheduler.step()
    assert "the copy of the job store cannot be written" in caplog.text
    assert jobs.list(LOCAL) == []
    jobs.close()
