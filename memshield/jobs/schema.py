"""Tables of the store."""

from __future__ import annotations

import sqlite3
import time

VERSION = 1
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    created REAL NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    title TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    command TEXT NOT NULL,
    needs_device INTEGER NOT NULL,
    needs_token INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'ended')),
    device TEXT,
    server TEXT,
    pid INTEGER,
    start_time REAL,
    started REAL,
    stop_asked REAL,
    exit_code INTEGER,
    problem TEXT,
    place TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS jobs_of_owner ON jobs (owner);
CREATE INDEX IF NOT EXISTS tasks_of_job ON tasks (job);
CREATE INDEX IF NOT EXISTS tasks_in_state ON tasks (state, number);
CREATE UNIQUE INDEX IF NOT EXISTS one_task_a_job ON tasks (job) WHERE state != 'ended';
CREATE UNIQUE INDEX IF NOT EXISTS one_task_a_device ON tasks (device)
    WHERE state = 'running' AND device IS NOT NULL;
PRAGMA user_version = {VERSION};
COMMIT;
"""
# Older files lack these. Releases that do not know them can still use a file that has them.
_ADDED = {"jobs": "title", "tasks": "place"}


def write_ahead(db: sqlite3.Connection, seconds: float) -> None:
    """Have changes written ahead, so that readers and a writer do not wait for each other.

    Args:
        db: a file that is just opened.
        seconds: to wait for others, which SQLite itself does not do here.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def prepare(db: sqlite3.Connection) -> int:
    """Make the tables of a new file, and add to those of an older one.

    Returns:
        The version of the file; one of another version is left as it is.
    """
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version == 0:
        db.executescript(_SCHEMA)
        return VERSION
    if version == VERSION:
        db.execute("BEGIN IMMEDIATE")  # of two servers that start at once, one adds
        for table, column in _ADDED.items():
            if column not in [row[1] for row in db.execute(f"PRAGMA table_info({table})")]:
                db.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
        db.execute("COMMIT")
    return version
