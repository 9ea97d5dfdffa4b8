"""Rows of the job store, from records and as records."""

from __future__ import annotations

import json
import sqlite3

from memshield.jobs.records import Job, Kind, Place, Task, Work


def insert_job(db: sqlite3.Connection, job: Job) -> None:
    """Write a job, without its tasks."""
    db.execute(
        "INSERT INTO jobs (id, owner, name, created, title) VALUES (?, ?, ?, ?, ?)",
        (job.id, job.owner, job.name, job.created, job.given),
    )


def insert_task(db: sqlite3.Connection, job: str, work: Work) -> None:
    """Write a task at the end of the queue.

    Args:
        db: in a transaction.
        job: its id.
        work: of the task.
    """
    db.execute(
        "INSERT INTO tasks (job, kind, command, needs_device, needs_token, place)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            job, work.kind, json.dumps(work.command), work.needs_device, work.needs_token,
            "" if work.place is None else work.place.to_json(),
        ),
    )  # fmt: skip


def task_of(row: sqlite3.Row) -> Task:
    """A row of tasks as a record."""
    kind: Kind = row["kind"]
    work = Work(
        kind,
        tuple(json.loads(row["command"])),
        bool(row["needs_device"]),
        bool(row["needs_token"]),
        Place.from_json(row["place"]),
    )
    return Task(
        row["number"], row["job"], work, row["state"], row["device"], row["server"], row["pid"],
        row["start_time"], row["started"], row["stop_asked"], row["exit_code"], row["problem"],
    )  # fmt: skip
