"""The embedded store of jobs: SQLite, for several threads and several servers of one machine.

Its constraints enforce the invariants: one task of a job at a time, one task a device.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memshield.errors import UserError
from memshield.jobs.backup import Copy
from memshield.jobs.records import Job, Task, Work
from memshield.jobs.rows import insert_job, insert_task, task_of
from memshield.jobs.schema import VERSION, prepare, write_ahead

BUSY_SECONDS = 10.0
_WORDS = {
    "SQLITE_FULL": ("the disk is full", "Make room; nothing was changed."),
    "SQLITE_READONLY": ("it cannot be written", "Let the server's user write it."),
    "SQLITE_BUSY": ("another process keeps it locked", "Try again in a moment."),
    "SQLITE_CANTOPEN": ("it cannot be opened", "Check that its folder is there and writable."),
    "SQLITE_NOTADB": ("it is no job store", "Move the file away to begin with an empty one."),
    "SQLITE_CORRUPT": ("it is damaged", "Move the file away; the runs themselves are whole."),
    "SQLITE_IOERR": ("it cannot be read or written", "Check the disk."),
}


class Store:
    """Jobs and tasks in one file.

    Every method is one short transaction, and raises `UserError` where the file cannot be used.

    Args:
        path: of the file; its folder must be there.
        copy: where to keep a copy; see `keeping`.

    Raises:
        UserError: it cannot be opened, or belongs to another version.
    """

    def __init__(self, path: Path, copy: Path | None = None) -> None:
        self._path = path
        self._copy = None if copy is None else Copy(path, copy)
        self._lock = threading.RLock()
        with self._refusals():
            if self._copy is not None:
                self._copy.restore()
            self._db = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._db.row_factory = sqlite3.Row
            write_ahead(self._db, BUSY_SECONDS)
            self._db.execute("PRAGMA foreign_keys = ON")
            version = prepare(self._db)
            if version != VERSION:
                self._db.close()
                raise UserError(
                    str(path),
                    f"is a job store of version {version}, and this is {VERSION}",
                    "Use the release that wrote it, or move it away.",
                )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def keep(self) -> None:
        """Bring the copy up to date, if there is one.

        Raises:
            OSError: it cannot be written; the one before is still there.
        """
        if self._copy is None:
            return
        with self._lock, self._refusals():
            changes = self._db.total_changes
            taken = self._copy.take(self._db)
        if taken:
            self._copy.send(changes)

    # Queueing

    def add(self, job: Job, work: Work, most_queued: int) -> None:
        """A new job with its first task, at the end of the queue.

        Raises:
            UserError: its owner has `most_queued` tasks in the queue already.
        """
        with self._transaction() as db:
            _require_few(db, job.owner, most_queued)
            insert_job(db, job)
            insert_task(db, job.id, work)

    def add_running(self, job: Job, work: Work, begun: float) -> None:
        """A new job whose first task runs already, and belongs to no server yet."""
        with self._transaction() as db:
            insert_job(db, job)
            insert_task(db, job.id, work)
            db.execute(
                "UPDATE tasks SET state = 'running', started = ?, start_time = ? WHERE job = ?",
                (begun, begun, job.id),
            )

    def queue(
        self, job: Job, work: Work, most_queued: int, first: Callable[[], None] | None = None
    ) -> None:
        """One more task of a job, at the end of the queue, after `first`.

        Raises:
            UserError: the job is busy, or is no more, or its owner has too many in the queue.
        """
        with self._transaction() as db:
            _require_idle(db, job.id)
            _require_few(db, job.owner, most_queued)
            if first is not None:
                first()
            insert_task(db, job.id, work)

    def position(self, task: Task) -> int | None:
        """Position of a task among those that wait for the same thing, from 1; None if none."""
        (row,) = self._rows(
            "SELECT count(*) AS place, max(number = ?) AS waits FROM tasks"
            " WHERE state = 'queued' AND needs_device = ? AND (place = '') = ? AND number <= ?",
            (task.number, task.work.needs_device, task.work.place is None, task.number),
        )
        return int(row["place"]) if row["waits"] else None

    def withdraw(self, task: Task) -> bool:
        """Take a task out of the queue; False where it is not there any more."""
        return self._change(
            "UPDATE tasks SET state = 'ended' WHERE number = ? AND state = 'queued'", task.number
        )

    def queue_again(self, task: Task) -> None:
        """Return a task that was withdrawn to its position in the queue."""
        self._change(
            "UPDATE tasks SET state = 'queued'"
            " WHERE number = ? AND state = 'ended' AND started IS NULL",
            task.number,
        )

    def run_again(self, job: Job, task: Task) -> None:
        """Take a task that has ended for one that runs, so that it is looked at once more.

        Raises:
            UserError: the job is busy, or is no more.
        """
        with self._transaction() as db:
            _require_idle(db, job.id)
            db.execute(
                "UPDATE tasks SET state = 'running', server = NULL, exit_code = NULL,"
                " problem = NULL, stop_asked = NULL WHERE number = ?",
                (task.number,),
            )

    # Reading

    def job(self, id: str) -> Job | None:
        """A job that is not deleted."""
        return next(iter(self._jobs("id = ?", id)), None)

    def jobs_of(self, owner: str) -> list[Job]:
        """The jobs of an owner, newest first."""
        return self._jobs("owner = ?", owner)

    def running(self) -> list[Task]:
        """All tasks that are recorded as running."""
        rows = self._rows("SELECT * FROM tasks WHERE state = 'running' ORDER BY number")
        return [task_of(row) for row in rows]

    def rename(self, job: Job, title: str) -> None:
        """Change a job's title."""
        self._change("UPDATE jobs SET title = ? WHERE id = ?", title, job.id)

    # Running

    def claim(
        self,
        devices: Sequence[str],
        without_device: int,
        server: str,
        may_start: Callable[[str, Work], bool],
        now: float,
    ) -> Task | None:
        """Claim the first task of the queue that can be run now; no other server gets it.

        Args:
            devices: all devices, free or not.
            without_device: how many tasks may run at once that need none.
            server: that takes it.
            may_start: whether work of an owner may be started here.
            now: the time.
        """
        with self._transaction() as db:
            running = db.execute(
                "SELECT device FROM tasks WHERE state = 'running' AND place = ''"
            ).fetchall()
            taken = [row["device"] for row in running]
            free = [device for device in devices if device not in taken]
            room = taken.count(None) < without_device
            rows = db.execute(
                "SELECT tasks.*, jobs.owner FROM tasks JOIN jobs ON jobs.id = tasks.job"
                " WHERE state = 'queued' ORDER BY number"
            )
            for row in rows:
                task = task_of(row)
                fits = bool(free) if task.work.needs_device else room
                fits = fits or task.work.place is not None  # nothing of this machine
                if not fits or not may_start(row["owner"], task.work):
                    continue
                db.execute(
                    "UPDATE tasks SET state = 'running', device = ?, server = ?, started = ?"
                    " WHERE number = ?",
                    (free[0] if task.work.needs_device else None, server, now, task.number),
                )
                return task_of(_one(db, task.number))
        return None

    def started(self, task: Task, pid: int | None, start_time: float) -> None:
        """Note the start of a claimed task."""
        self._change(
            "UPDATE tasks SET pid = ?, start_time = ? WHERE number = ?",
            pid, start_time, task.number,
        )  # fmt: skip

    def put_back(self, task: Task) -> None:
        """Return a claimed task that was never started to its position in the queue."""
        self._change(
            "UPDATE tasks SET state = 'queued', device = NULL, server = NULL, started = NULL"
            " WHERE number = ? AND state = 'running' AND start_time IS NULL",
            task.number,
        )

    def adopt(self, task: Task, server: str) -> bool:
        """Take a running task over; False where another server was faster."""
        return self._change(
            "UPDATE tasks SET server = ? WHERE number = ? AND state = 'running' AND server IS ?",
            server, task.number, task.server,
        )  # fmt: skip

    def release(self, server: str) -> None:
        """Leave all tasks of a server to the next one."""
        self._change(
            "UPDATE tasks SET server = NULL WHERE state = 'running' AND server = ?", server
        )

    def ask_to_stop(self, task: Task, now: float) -> None:
        """Note that a running task was asked to stop; the first time counts."""
        self._change(
            "UPDATE tasks SET stop_asked = coalesce(stop_asked, ?)"
            " WHERE number = ? AND state = 'running'",
            now, task.number,
        )  # fmt: skip

    def end(
        self,
        task: Task,
        exit_code: int | None = None,
        problem: str | None = None,
        stopped: float | None = None,
    ) -> None:
        """Note that a task's processes are gone, or that it could not be started.

        Args:
            task: that has ended.
            exit_code, problem: see `Task`.
            stopped: when it was seen that it had been stopped elsewhere.
        """
        self._change(
            "UPDATE tasks SET state = 'ended', exit_code = ?, problem = ?, "
            "stop_asked = COALESCE(stop_asked, ?) WHERE number = ?",
            exit_code, problem, stopped, task.number,
        )  # fmt: skip

    # Deleting

    def hide(self, job: Job) -> None:
        """Mark a job as deleted, which takes it out of the queue and of all lists.

        Raises:
            UserError: it is running.
        """
        with self._transaction() as db:
            db.execute(
                "UPDATE tasks SET state = 'ended' WHERE job = ? AND state = 'queued'", (job.id,)
            )
            _require_idle(db, job.id)
            db.execute("UPDATE jobs SET deleted = 1 WHERE id = ?", (job.id,))

    def hidden(self) -> list[str]:
        """Ids of deleted jobs whose files may still be there."""
        return [row["id"] for row in self._rows("SELECT id FROM jobs WHERE deleted")]

    def forget(self, id: str) -> None:
        """Drop a deleted job whose files are gone."""
        self._change("DELETE FROM jobs WHERE id = ? AND deleted", id)

    # SQLite

    def _jobs(self, where: str, value: str) -> list[Job]:
        with self._transaction(write=False) as db:
            jobs = db.execute(
                f"SELECT * FROM jobs WHERE {where} AND NOT deleted"
                " ORDER BY created DESC, rowid DESC",
                (value,),
            ).fetchall()
            tasks = db.execute(
                "SELECT tasks.* FROM tasks JOIN jobs ON jobs.id = tasks.job"
                f" WHERE jobs.{where} ORDER BY number",
                (value,),
            ).fetchall()
        of_job: dict[str, list[Task]] = {}
        for row in tasks:
            of_job.setdefault(row["job"], []).append(task_of(row))
        return [
            Job(
                row["id"],
                row["owner"],
                row["name"],
                row["created"],
                tuple(of_job[row["id"]]),
                row["title"],
            )
            for row in jobs
        ]

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._lock, self._refusals():
            return self._db.execute(statement, values).fetchall()

    def _change(self, statement: str, *values: Any) -> bool:
        with self._transaction() as db:
            return db.execute(statement, values).rowcount == 1

    @contextmanager
    def _transaction(self, write: bool = True) -> Iterator[sqlite3.Connection]:
        with self._lock, self._refusals():
            # Asking for the write lock at once waits for it; asking later fails where two wait.
            self._db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield self._db
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            name = getattr(error, "sqlite_errorname", "")
            for kind, (problem, remedy) in _WORDS.items():
                if name.startswith(kind):
                    raise UserError(f"job store {self._path}", problem, remedy) from error
            raise


def _require_idle(db: sqlite3.Connection, job: str) -> None:
    found = db.execute(
        "SELECT deleted, (SELECT state FROM tasks WHERE job = jobs.id AND state != 'ended') AS busy"
        " FROM jobs WHERE id = ?",
        (job,),
    ).fetchone()
    if found is None or found["deleted"]:
        raise no_such_job(job)
    if found["busy"]:
        words = "is waiting already" if found["busy"] == "queued" else "is running"
        raise UserError("job", f"it {words}", "Stop it first, or wait until it has ended.")


def _require_few(db: sqlite3.Connection, owner: str, most: int) -> None:
    count = db.execute(
        "SELECT count(*) FROM tasks JOIN jobs ON jobs.id = tasks.job"
        " WHERE state = 'queued' AND owner = ?",
        (owner,),
    ).fetchone()[0]
    if count >= most:
        raise UserError(
            "job", f"{count} of yours wait already, the most that may",
            "Wait until one has started, or take one out of the queue.",
        )  # fmt: skip


def no_such_job(id: str) -> UserError:
    """The error for an unknown id; one of another owner must read the same."""
    return UserError("job", f"there is no job {id!r}", "Choose one from your list of jobs.")


def _one(db: sqlite3.Connection, number: int) -> sqlite3.Row:
    row: sqlite3.Row = db.execute("SELECT * FROM tasks WHERE number = ?", (number,)).fetchone()
    return row
