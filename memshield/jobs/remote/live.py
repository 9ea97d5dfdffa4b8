"""The run directory of a training on Jobs, here: followed by few requests, and fetched whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from memshield.config.file import make_config, read_yaml, to_yaml
from memshield.errors import UserError
from memshield.jobs.remote.client import HubClient
from memshield.jobs.remote.container import LIVE, OUTPUT, RUN
from memshield.jobs.remote.places import with_meant
from memshield.quantities import size
from memshield.rundir import RunDir, write_text

_FOLLOWED = ("config.yaml", "watch.json", "publish.json")
_MOST_BYTES = 8 * 2**20
"""Of the list of a run's files: some tens of thousands."""
_PROGRESS = "audit-progress.json"
_EVENTS, _SAMPLES, _MODEL = "events.jsonl", "samples/", "model/"
AUDITS = "audit/"
"""Beginning of what an audit writes."""


@dataclass(frozen=True)
class Live:
    """What a container wrote last.

    Attributes:
        time: of the writing, on the container's clock.
        mark: of the task that wrote it.
        status: of the run; {} before it has one.
        files: sizes and times of all files, by their paths in the run directory.
        ended: exit code of the command, once it has ended.
    """

    time: float
    mark: str
    status: dict[str, Any] = field(default_factory=dict)
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    ended: int | None = None

    @property
    def has_model(self) -> bool:
        """Whether the run is done, and its model in the bucket."""
        is_done = self.status.get("state") == "done"
        return is_done and any(name.startswith(_MODEL) for name in self.files)

    @classmethod
    def parse(cls, data: bytes) -> Live | None:
        """From the bucket; None for something else."""
        try:
            values = json.loads(data)
            files = {
                str(name): (max(int(length), 0), int(time))
                for name, (length, time) in values["files"].items()
                if _is_inside(str(name))
            }
            return cls(
                float(values["time"]), str(values["mark"]), dict(values["status"]), files,
                values.get("ended"),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def read_live(client: HubClient, id: str) -> Live | None:
    """What the newest container of a run wrote last; None where none did."""
    found = client.read(f"{id}/{LIVE}", most=_MOST_BYTES)
    return None if found is None or found.data is None else Live.parse(found.data)


class NoRoomError(UserError):
    """This disk is too small for a run.

    Args:
        needed, free: in bytes.
    """

    def __init__(self, needed: int, free: int) -> None:
        super().__init__(
            "disk", f"the run takes {size(needed)}, and {size(free)} are free", "Make room."
        )


class LiveCopy:
    """A copy of what is shown of a run, which every call brings up to date.

    A call takes one request where nothing is new, and one more for each small file that is.

    Args:
        client: of the account.
        id: of the run.
        run: the copy.
        meant: see `RunRecord`.
        output: file for what the command printed, once it has ended; or None.
        trains: whether the command does. What does not changes nothing but the audits, and the
            run here may have been changed since it was brought.
    """

    def __init__(
        self,
        client: HubClient,
        id: str,
        run: RunDir,
        meant: dict[str, Any] | None = None,
        output: Path | None = None,
        trains: bool = True,
    ) -> None:
        self._client, self._id, self._run, self._output = client, id, run, output
        self._meant, self._trains = meant or {}, trains
        self._etag: str | None = None
        self._live: Live | None = None
        self._here: dict[str, tuple[int, int]] = {}

    def bring_up_to_date(self) -> Live | None:
        """Fetch what has changed.

        Raises:
            UserError: the Hub cannot be asked; `UnreachableError` where it may answer later.
        """
        found = self._client.read(f"{self._id}/{LIVE}", self._etag, most=_MOST_BYTES)
        if found is None or found.data is None:
            return self._live
        live = Live.parse(found.data)
        if live is None:
            return self._live
        self._run.path.mkdir(parents=True, exist_ok=True)
        for name in (_PROGRESS, *(_FOLLOWED if self._trains else ())):
            stamp = live.files.get(name)
            if stamp is not None and self._here.get(name) != stamp:
                self._fetch(name, stamp)
        if _PROGRESS not in live.files:  # the audit has ended
            (self._run.path / _PROGRESS).unlink(missing_ok=True)
            self._here.pop(_PROGRESS, None)
        if self._trains:
            self._fetch_training(live)
        if self._output is not None and live.ended is not None:
            printed = self._client.read(f"{self._id}/{OUTPUT}")
            if printed is not None and printed.data is not None:
                self._output.write_bytes(printed.data)
        if live.status and self._trains:
            write_text(self._run.status, json.dumps(live.status, indent=1), sync=False)
        # Last: where one of these failed, the next call asks for all of them again.
        self._etag, self._live = found.etag, live
        return live

    def _fetch_training(self, live: Live) -> None:
        self._fetch_events(live)
        for name, stamp in live.files.items():
            if name.startswith(_SAMPLES) and self._here.get(name) != stamp:
                target = self._run.path / name
                self._client.download(f"{self._id}/{RUN}/{name}", target)
                self._here[name] = stamp

    def _fetch_events(self, live: Live) -> None:
        listed, _ = live.files.get(_EVENTS, (0, 0))
        here = self._run.events.stat().st_size if self._run.events.exists() else 0
        if listed == here:
            return
        if listed < here:  # of a run that was begun anew
            self._run.events.unlink()
            here = 0
        if listed - here > _MOST_BYTES:
            self._client.download(f"{self._id}/{RUN}/{_EVENTS}", self._run.events)
            return
        found = self._client.read(f"{self._id}/{RUN}/{_EVENTS}", first=here)
        if found is not None and found.data:
            with self._run.events.open("ab") as file:
                file.write(found.data)

    def _fetch(self, name: str, stamp: tuple[int, int]) -> None:
        found = self._client.read(f"{self._id}/{RUN}/{name}")
        if found is None or found.data is None:
            return
        write_text(self._run.path / name, found.data.decode("utf-8", "replace"), sync=False)
        if name == "config.yaml":
            mean_here(self._run, self._meant)
        self._here[name] = stamp


def fetch(
    client: HubClient,
    id: str,
    run: RunDir,
    meant: dict[str, Any],
    without: str | None = None,
    only: str | None = None,
) -> Iterator[str]:
    """Bring a run directory here; what is here already is not fetched again.

    Args:
        client: of the account.
        id: of the run.
        run: to write.
        meant: see `RunRecord`.
        without: files whose paths begin so stay there.
        only: all others do; None for the whole run, with its status.

    Yields:
        Names of files that were fetched.

    Raises:
        NoRoomError: this disk is too small.
        UserError: the Hub cannot be asked.
    """
    live = read_live(client, id)
    if live is None:
        return
    run.path.mkdir(parents=True, exist_ok=True)
    missing = [
        name for name in sorted(live.files)
        # The status is written below: it is last, so that the run is what it says.
        if name != run.status.name
        and not (without is not None and name.startswith(without))
        and (only is None or name.startswith(only))
        and not _is_here(run.path / name, name, live.files[name])
    ]  # fmt: skip
    needed = sum(live.files[name][0] for name in missing)
    free = shutil.disk_usage(run.path).free
    if needed > free:
        raise NoRoomError(needed, free)
    there = live.files
    for name in missing:
        if name not in there:
            continue
        length, modified = live.files[name]
        target = run.path / name
        # A folder is written once, or anew: its files do not grow.
        version = f"{length}-{modified}" if "/" in name else None
        try:
            client.download(f"{id}/{RUN}/{name}", target, version)
        except UserError:
            now = read_live(client, id)
            if now is None or name in now.files:
                raise
            # A run that still trains drops its older checkpoints: half of one is of no use.
            there = now.files
            folder = name.partition("/")[0]
            if not any(other.startswith(f"{folder}/") for other in there):
                shutil.rmtree(run.path / folder, ignore_errors=True)
            continue
        if version is not None and target.stat().st_size != length:
            target.unlink()
            raise UserError("bucket", f"{name} changed while it was read", "Try again in a moment.")
        if name == "config.yaml":
            mean_here(run, meant)
        os.utime(target, ns=(modified, modified))
        yield name
    if live.status and only is None:
        write_text(run.status, json.dumps(live.status, indent=1))


def _is_here(target: Path, name: str, stamp: tuple[int, int]) -> bool:
    if not target.exists():
        return False
    length, modified = stamp
    stat = target.stat()
    if name.startswith(AUDITS) and stat.st_mtime_ns > modified:
        return True  # audited here since
    return stat.st_mtime_ns == modified and (name == "config.yaml" or stat.st_size == length)


def mean_here(run: RunDir, meant: dict[str, Any]) -> None:
    """Rewrite config.yaml so that it names what was read, not where the container had it."""
    if meant:
        config = make_config(with_meant(read_yaml(run.config), meant))
        write_text(run.config, to_yaml(config))
