"""Reads the state of a run from status.json, watch.json and, as it grows, events.jsonl."""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memshield.audit.progress_file import path_of as audit_progress_path
from memshield.audit.progress_file import read_audit_progress
from memshield.audit.report import PRIVATE, REPORT
from memshield.audit.watch_record import WatchRecord
from memshield.config.file import read_yaml
from memshield.errors import UserError
from memshield.rundir import RunDir, reason_for_page
from memshield.runs.series import Series
from memshield.runs.state import Audited, Figures, RoundEnd, RunProgress

MOST_DOTS = 400
_MOST_SHARDS = 256
_MOST_FACTS = 20
_SHARD_DOTS = 60
_FOLLOWED = 32
_CHUNK = 1 << 20


@dataclass
class _EventSummary:
    """What follows from the events read so far."""

    last: dict[str, Any] = field(default_factory=dict)
    losses: Series = field(default_factory=lambda: Series(MOST_DOTS))
    kept: dict[int, Series] = field(default_factory=dict)
    ends: dict[int, RoundEnd] = field(default_factory=dict)
    audits: dict[int, Audited] = field(default_factory=dict)
    times: dict[int, tuple[float, float]] = field(default_factory=dict)
    pictures: tuple[tuple[str, str], ...] = ()
    checkpoint: int | None = None
    stepped_in: int = 0

    def take(self, event: dict[str, Any]) -> None:
        """Add one event; one of another form is ignored."""
        attempt = _whole(event.get("attempt")) or 1
        time = _number(event.get("time"))
        if time is not None:
            begun, ended = self.times.get(attempt, (time, time))
            self.times[attempt] = (begun, max(ended, time))
        kind, step = event.get("type"), _whole(event.get("step"))
        if kind == "step" and step is not None:
            self._step(event, step, attempt)
        elif kind == "round" and step is not None:
            self._round(event, step)
        elif kind == "checkpoint" and step is not None:
            self.checkpoint = step
        elif kind == "audit":
            self._audit(event)
        elif kind == "data":
            self._data(event)

    def _data(self, event: dict[str, Any]) -> None:
        facts = event.get("facts")
        if facts is None:  # of an older version, which wrote a line a fact
            lines = event.get("lines")
            facts = [("", line) for line in lines] if isinstance(lines, list) else []
        if not isinstance(facts, list):
            return
        self.pictures = tuple(
            (fact[0], fact[1])
            for fact in facts[:_MOST_FACTS]
            if isinstance(fact, list | tuple) and [type(word) for word in fact] == [str, str]
        )

    def _step(self, event: dict[str, Any], step: int, attempt: int) -> None:
        if attempt > self.stepped_in:
            # Training resumed from a checkpoint: the steps after that are repeated.
            self.losses.cut(step)
            for series in self.kept.values():
                series.cut(step)
            self.ends = {number: end for number, end in self.ends.items() if end.step < step}
            last = max(self.ends, default=0)
            self.audits = {number: one for number, one in self.audits.items() if number <= last}
            self.stepped_in = attempt
        self.last = event
        loss, kept = _number(event.get("loss")), _number(event.get("kept"))
        if loss is not None:
            self.losses.add(step, loss)
        shard = _whole(event.get("shard"))
        if kept is None or shard is None:
            return
        if shard in self.kept or len(self.kept) < _MOST_SHARDS:
            self.kept.setdefault(shard, Series(_SHARD_DOTS)).add(step, kept)

    def _round(self, event: dict[str, Any], step: int) -> None:
        number = _whole(event.get("round"))
        if number is not None:
            self.ends[number] = RoundEnd(
                number, step, *(_number(event.get(name)) for name in ("loss", "kept", "seconds"))
            )

    def _audit(self, event: dict[str, Any]) -> None:
        number = _whole(event.get("round"))
        if number is None:
            return
        found = event.get("excess_interval")
        ends = [_number(one) for one in found] if isinstance(found, list) else []
        interval = None
        if len(ends) == 2 and ends[0] is not None and ends[1] is not None:
            interval = (ends[0], ends[1])
        measure = event.get("quality_measure")
        self.audits[number] = Audited(
            number,
            _number(event.get("excess")),
            interval,
            _number(event.get("quality")),
            measure if isinstance(measure, str) else None,
        )


class Follower:
    """Follows one run: every call reads only the events that were added since the last one."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._events = _EventSummary()
        self._inode = 0
        self._offset = 0
        self._plan: tuple[object, dict[str, Any]] = (None, {})
        self._watch: tuple[object, WatchRecord | None] = (None, None)

    def read(self) -> RunProgress:
        """The state of the run now."""
        with self._lock:
            self._read_events()
            return self._progress(_status(self._run), self._settings())

    def figures(self, status: dict[str, Any]) -> Figures:
        """The newest figures of the attempt that a status is of.

        The events are ahead of the status by up to a heartbeat.
        """
        with self._lock:
            self._read_events()
            last = self._events.last
        newest = last if last.get("attempt") == status.get("attempt") else {}
        values = {**status, **newest}
        return Figures(**{name: values.get(name) for name in Figures.__dataclass_fields__})

    def _read_events(self) -> None:
        try:
            with self._run.events.open("rb") as file:
                stat = os.fstat(file.fileno())
                if stat.st_ino != self._inode or stat.st_size < self._offset:
                    self._events, self._offset, self._inode = _EventSummary(), 0, stat.st_ino
                file.seek(self._offset)
                rest = b""
                while chunk := file.read(_CHUNK):
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        self._take(line)
                # A line without an end is still being written: it is read again.
                self._offset = file.tell() - len(rest)
        except FileNotFoundError:
            self._events, self._offset, self._inode = _EventSummary(), 0, 0

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:  # torn by a writer that was killed, or found the disk full
            return
        if isinstance(event, dict):
            self._events.take(event)

    def _settings(self) -> dict[str, Any]:
        key = _stamp(self._run.config)
        if key != self._plan[0]:
            try:
                settings = read_yaml(self._run.config)
            except UserError:  # not written yet
                settings = {}
            self._plan = (key, settings)
        return self._plan[1]

    def _watched(self) -> WatchRecord | None:
        key = _stamp(self._run.watch)
        if key != self._watch[0]:
            try:
                record = WatchRecord.read(self._run.watch)
            except (OSError, ValueError):  # of another version: there is no chart of it
                record = None
            self._watch = (key, record)
        return self._watch[1]

    def _progress(self, status: dict[str, Any], settings: dict[str, Any]) -> RunProgress:
        events, last = self._events, self._events.last
        attempt = _whole(status.get("attempt")) or max(events.times, default=0)
        going = status.get("state") == "running" and last.get("attempt", 1) == attempt
        return RunProgress(
            state=_text(status.get("state")),
            attempt=attempt,
            step=_whole(last.get("step")) or 0,
            total=_whole(status.get("total_steps")),
            round=_whole(last.get("round")),
            rounds=_whole(settings.get("num_rounds")),
            shard=_whole(last.get("shard")),
            shards=_whole(settings.get("num_shards")),
            loss=_number(last.get("loss")),
            kept=_number(last.get("kept")),
            eta_s=_number(last.get("eta_s")) if going else None,
            elapsed_s=_elapsed(events.times, attempt, status),
            checkpoint=events.checkpoint,
            reason=_text(reason_for_page(status)),
            error=_text(status.get("error")),
            losses=events.losses.dots(),
            kept_by_shard=tuple((k, events.kept[k].dots()) for k in sorted(events.kept)),
            round_ends=tuple(events.ends[k] for k in sorted(events.ends)),
            audits=tuple(events.audits[k] for k in sorted(events.audits)),
            pictures=events.pictures,
            watch=self._watched(),
            audit=read_audit_progress(self._run),
        )


def _elapsed(times: dict[int, tuple[float, float]], attempt: int, status: dict[str, Any]) -> float:
    """Seconds of all attempts; the current one began with its process, not with its first event."""
    total = 0.0
    for number, (begun, ended) in times.items():
        if number == attempt:
            begun = min(begun, _process_start(status) or begun)
        total += max(0.0, ended - begun)
    return total


def _process_start(status: dict[str, Any]) -> float | None:
    processes = status.get("processes")
    first = processes[0] if isinstance(processes, list) and processes else None
    return _number(first.get("start_time")) if isinstance(first, dict) else None


class _Followers:
    """Followers of the runs that were read last, so that each is read from its start only once."""

    def __init__(self) -> None:
        self._followers: OrderedDict[str, Follower] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, run: RunDir) -> Follower:
        """The follower of a run."""
        key = str(run.path.absolute())
        with self._lock:
            found = self._followers.setdefault(key, Follower(run))
            self._followers.move_to_end(key)
            while len(self._followers) > _FOLLOWED:
                self._followers.popitem(last=False)
            return found


_FOLLOWERS = _Followers()


def read_progress(run: RunDir) -> RunProgress:
    """The state of a run; only events that were added since the last call are read."""
    return _FOLLOWERS.of(run).read()


def read_figures(run: RunDir, status: dict[str, Any]) -> Figures:
    """The newest figures of a run; like `read_progress`, it reads only new events."""
    return _FOLLOWERS.of(run).figures(status)


def fingerprint(run: RunDir) -> str:
    """A text that changes with anything that a view shows; the heartbeat alone does not count."""
    status = {name: value for name, value in _status(run).items() if name != "heartbeat"}
    parts: list[object] = [json.dumps(status, sort_keys=True, default=str)]
    others = (run.path / "publish.json", audit_progress_path(run))
    parts += map(_stamp, (run.config, run.events, run.watch, *others, run.model))
    parts += _stamps(run.samples)
    for folder in _entries(run.path / "audit"):
        parts += _stamps(Path(folder.path))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def audits_fingerprint(run: RunDir) -> str:
    """A text that changes with a run's audits, its rounds or its model."""
    parts: list[object] = [_stamp(run.config), _stamp(run.model), _stamp(run.rounds)]
    for folder in _entries(run.path / "audit"):
        parts += [folder.name, *(_stamp(Path(folder.path) / name) for name in (REPORT, PRIVATE))]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _stamps(folder: Path) -> list[object]:
    return [
        (entry.name, _stamp(Path(entry.path)))
        for entry in _entries(folder)
        if not entry.name.startswith(".")
    ]


def _stamp(path: Path) -> object:
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size)


def _status(run: RunDir) -> dict[str, Any]:
    try:
        return run.read_status()
    except (ValueError, TypeError):  # half-written by something else than a run
        return {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond all floats
        return None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
