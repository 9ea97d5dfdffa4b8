"""The run directory: the interface between training and everything that reads it. No torch.

config.yaml        all that is needed to run it again
examples.parquet   index, row, sha256, split, shard, group, label
events.jsonl       append-only log of progress
status.json        state, heartbeat, processes, reason
checkpoint-<step>/ to go on from
rounds/<r>/        the aggregate at a round's end, loadable
skips.parquet      index, draws, skips
watch.json         held-out loss by noise level, and when each level stopped, if watched
samples/           one grid a round
duplicates/        the first pairs of pictures that are nearly the same, small
model/             what from_pretrained or load_lora_weights reads
audit/<target>/    report.json and report.html of the model or a round, and what is private
publish.json       how far publishing got
audit-progress.json  how far an audit is, while one runs
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import psutil

from memshield.digests import trained_files
from memshield.paths import expanded
from memshield.redaction import redact

State = Literal["preparing", "running", "stopped", "failed", "done"]
SCHEMA_VERSION = 1
HEARTBEAT_SECONDS = 2.0
EVENT_SECONDS = 0.5
"""Progress events are written at most this often (two a second)."""


class RunDir:
    """Paths of a run, and the few files that are read and written without torch."""

    def __init__(self, path: Path | str) -> None:
        self.path = expanded(path)
        self.config = self.path / "config.yaml"
        self.examples = self.path / "examples.parquet"
        self.events = self.path / "events.jsonl"
        self.status = self.path / "status.json"
        self.skips = self.path / "skips.parquet"
        self.watch = self.path / "watch.json"
        self.rounds = self.path / "rounds"
        self.samples = self.path / "samples"
        self.duplicates = self.path / "duplicates"
        self.model = self.path / "model"
        self.logs = self.path / "logs"
        self.moments = self.path / ".moments"
        self.stop_file = self.path / ".stop"

    def audit_of(self, round: int | None) -> Path:
        """Folder of the audit of a round, or of the chosen model."""
        return self.path / "audit" / ("model" if round is None else f"round-{round}")

    def checkpoint(self, step: int) -> Path:
        """Folder of the checkpoint made after `step` optimizer steps of the whole run."""
        return self.path / f"checkpoint-{step}"

    def checkpoints(self) -> list[int]:
        """Steps of the whole (renamed, never partial) checkpoints, oldest first."""
        names = (p.name.removeprefix("checkpoint-") for p in self.path.glob("checkpoint-*"))
        return sorted(int(name) for name in names if name.isdecimal())

    def round_numbers(self) -> list[int]:
        """Rounds that have ended, oldest first."""
        names = (path.name for path in self.rounds.glob("*"))
        return sorted(int(name) for name in names if name.isdecimal())

    def round_of_model(self) -> int | None:
        """The round that model/ is a copy of; None where that cannot be told at a glance.

        A copy has its files' times and sizes: digests of gigabytes would take too long for a page.
        """
        ours = _stamps(self.model)
        if not ours:
            return None
        rounds = (one for one in self.round_numbers() if _stamps(self.rounds / str(one)) == ours)
        return next(rounds, None)

    def is_run(self) -> bool:
        """Whether a run was ever started here."""
        return self.config.exists()

    def has_begun(self) -> bool:
        """Whether there is something to go on from, which other settings would contradict."""
        return self.is_run() and (bool(self.checkpoints()) or self.rounds.is_dir())

    def read_status(self) -> dict[str, Any]:
        """The last status, or {} where there is none that can be read."""
        try:
            return dict(json.loads(self.status.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError):  # a machine that lost its power can leave an empty file
            return {}

    def read_events(self) -> list[dict[str, Any]]:
        """All events, oldest first; torn lines are ignored."""
        try:
            lines = self.events.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        events = []
        for line in lines:
            # A writer that was killed, or found the disk full, leaves a torn line.
            with contextlib.suppress(json.JSONDecodeError):
                event = json.loads(line)
                if isinstance(event, dict):
                    events.append(event)
        return events


def _stamps(folder: Path) -> list[tuple[str, int, int]]:
    stamps = []
    for path in trained_files(folder):
        try:
            stat = path.stat()
        except FileNotFoundError:  # replaced at this very moment
            return []
        stamps.append((path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns))
    return stamps


def this_process(rank: int) -> dict[str, Any]:
    """The status entry of this process."""
    me = psutil.Process()
    return {
        "rank": rank,
        "host": socket.gethostname(),
        "pid": me.pid,
        "start_time": me.create_time(),
    }


def is_alive(process: dict[str, Any]) -> bool:
    """Whether the process of a status entry still runs (pids are reused).

    A process on another host is taken to be alive: the heartbeat must tell.
    """
    if process["host"] != socket.gethostname():
        return True
    try:
        found = psutil.Process(process["pid"])
        same = abs(found.create_time() - process["start_time"]) < 1.0
        # A killed child that nobody waited for is still listed.
        return bool(same and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class EventLog:
    """Appends to events.jsonl: v, time, type and whatever the type carries."""

    def __init__(self, run: RunDir, attempt: int) -> None:
        self._path = run.events
        self._attempt = attempt
        self._last_step = float("-inf")
        if self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
            with self._path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def write(self, type: str, **values: Any) -> None:
        """Append one event; it is on its way to the disk when this returns."""
        event = {
            "v": SCHEMA_VERSION,
            "time": round(time.time(), 3),
            "type": type,
            "attempt": self._attempt,
            **values,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(redact(json.dumps(event, allow_nan=False)) + "\n")

    def step_is_due(self) -> bool:
        """Whether another step event may be written now; True starts the next wait."""
        now = time.monotonic()
        if now - self._last_step < EVENT_SECONDS:
            return False
        self._last_step = now
        return True


def reason_for_page(status: Mapping[str, Any]) -> str | None:
    """Why a run is in the state that its status tells, in words for a page."""
    return status.get("on_page") or status.get("reason")


class StatusFile:
    """Keeps status.json up to date: its state by the trainer, its heartbeat by a thread."""

    def __init__(self, run: RunDir, attempt: int) -> None:
        self._path = run.status
        self._values: dict[str, Any] = {
            "v": SCHEMA_VERSION,
            "state": "preparing",
            "attempt": attempt,
            "processes": [this_process(0)],
            "reason": None,
            "error": None,
            "on_page": None,
        }
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._write()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    @property
    def state(self) -> State:
        """The state that was written last."""
        with self._lock:
            state: State = self._values["state"]
            return state

    def set(
        self,
        state: State,
        reason: str | None = None,
        error: str | None = None,
        on_page: str | None = None,
        **values: Any,
    ) -> None:
        """Write a new state at once.

        Args:
            state: that begins.
            reason: why, in words.
            error: kind of a failure.
            on_page: the reason in words for a page; None where it serves itself.
            values: beside them.
        """
        told = {"reason": reason, "error": error, "on_page": on_page}
        with self._lock:
            self._values.update(state=state, **told, **values)
        self._write()

    @staticmethod
    def amend(
        run: RunDir, state: State, reason: str, error: str | None, on_page: str | None = None
    ) -> None:
        """Write the state of a run whose own process is gone."""
        told = {"state": state, "reason": reason, "error": error, "on_page": on_page}
        status = {**run.read_status(), **told}
        write_text(run.status, redact(json.dumps(status, indent=1)))

    def update(self, **values: Any) -> None:
        """Note values that the next heartbeat writes."""
        with self._lock:
            self._values.update(values)

    def close(self) -> None:
        """Stop the heartbeat; the last state stays."""
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            # A full disk must not silence the thread: the next beat tries again.
            with contextlib.suppress(OSError):
                self._write()

    def _write(self) -> None:
        with self._lock:
            text = json.dumps({**self._values, "heartbeat": round(time.time(), 3)}, indent=1)
            write_text(self._path, redact(text), sync=False)


def write_text(path: Path, text: str, sync: bool = True) -> None:
    """Write a small file whole or not at all: aside, synced, renamed."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder that appears at `path` whole or not at all, replacing one that was there.

    The body fills the yielded folder beside it; then files are synced and it is renamed.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        for file in aside.rglob("*"):
            if not file.is_symlink():
                sync(file)
        sync(aside)
        if path.exists():
            old = path.with_name(f".{path.name}.{os.getpid()}.old.tmp")
            path.rename(old)
            aside.rename(path)
            shutil.rmtree(old)
        else:
            aside.rename(path)
        sync(path.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sync(path: Path) -> None:
    """Force a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def bytes_in(folder: Path) -> int:
    """Bytes of all files in a folder; a file of several names is counted once.

    What symbolic links lead to is not counted.
    """
    total, shared = 0, set[tuple[int, int]]()
    for place, _, names in os.walk(folder):
        for name in names:
            # Another process may rename or delete its files while they are counted.
            with contextlib.suppress(FileNotFoundError):
                found = os.lstat(os.path.join(place, name))
                if found.st_nlink > 1 and (found.st_dev, found.st_ino) in shared:
                    continue
                shared.add((found.st_dev, found.st_ino))
                total += found.st_size
    return total


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process left half-written (`.name.pid.tmp`) in a folder of the run."""
    for path in folder.glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def lock_path(run: RunDir) -> Path:
    """The file whose lock says that a process is training in this run directory."""
    return run.path / ".lock"


def publish_lock_path(run: RunDir) -> Path:
    """The file whose lock says that a process is publishing this run."""
    return run.path / ".publish.lock"


def audit_lock_path(folder: Path) -> Path:
    """The file whose lock says that a process is writing an audit to this folder.

    That of a run's model lies outside of it: another round that is made the model replaces the
    folder, and no audit may begin meanwhile.
    """
    run = RunDir(folder.parent.parent)
    return run.path / ".audit-model.lock" if folder == run.audit_of(None) else folder / ".lock"
