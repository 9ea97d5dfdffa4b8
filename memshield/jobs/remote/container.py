"""Runs a command in a Job's container, and keeps its run directory in a bucket. Only stdlib.

The command works on the container's own disk: a mounted bucket is slow, and lacks locks and
links. What it writes is copied to the mount: small files every few seconds, and with them
`live.json`, which says what is there. A folder that is not listed there is not whole yet.

    container.py --folder MOUNT --code CODE --mark MARK --every SECONDS [--seconds N]
        [--link NAME=PATH] [--without PREFIX] -- COMMAND

`{run}` in the command stands for the run directory. Its other paths are relative, to links that
lie where it is run: a run that goes on elsewhere must find the same paths in its settings.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Literal

ARCHIVE = "code.zip"
LIVE = "live.json"
STOP = "stop"
RUN = "run"
OUTPUT = "output.log"
STOP_AT = "MEMSHIELD_STOP_AT"
NO_ROOM = 74
"""Exit code where the bucket takes no more."""
WITHOUT_ROOM_SECONDS = 300.0
"""How long the bucket may refuse before the command is stopped: it costs, and saves nothing."""
MOST_OUTPUT = 64 * 2**10
_SHARE_TO_SAVE, _MOST_TO_SAVE = 1 / 6, 600.0
_LAST_COPY_SECONDS = 60.0
_ENDING = ("state", "attempt")
_LOOK_SECONDS = 0.1
"""Between two looks at the state: a new one is copied at once, for somebody may wait for it."""
_GRACE = 0.6
"""Share of the time to save that the command has, before it is ended; the rest is for copying."""
Part = Literal["small", "folders", "all"]
Stamp = tuple[int, int]
"""Size, and time of the last change in nanoseconds."""


def time_to_save(seconds: float) -> float:
    """Seconds before the time limit at which the command is to stop and save."""
    return min(_MOST_TO_SAVE, _SHARE_TO_SAVE * seconds)


def _is_of(name: str, part: Part) -> bool:
    return part == "all" or ("/" in name) == (part == "folders")


class Copy:
    """The copy of a run directory in the bucket.

    Args:
        run: the run directory, on the container's disk.
        folder: the mount.
        mark: of the task, for `live.json`.
        without: files whose paths begin so are not needed here, and stay in the bucket.

    Attributes:
        state: of the run, at the last copy of small files.
    """

    def __init__(self, run: Path, folder: Path, mark: str, without: str | None = None) -> None:
        self._run, self._folder, self._mark, self._without = run, folder, mark, without
        self.state: object = None
        self._before: dict[str, Any] = {}  # what was told of the run by the container before
        self._left_there: dict[str, Stamp] = {}
        self._copied: dict[str, Stamp] = {}
        self._refused: dict[Part, float] = {}
        self._telling = threading.Lock()

    @property
    def refused_since(self) -> float | None:
        """Since when the bucket takes no files, by the monotonic clock; None if it does."""
        return min(self._refused.values(), default=None)

    def restore(self) -> None:
        """Bring what an earlier job left to this disk: files that its `live.json` lists.

        Raises:
            OSError, ValueError, KeyError: it cannot be read; to begin anew would write over it.
        """
        try:
            live = json.loads((self._folder / LIVE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        listed, self._before = live["files"], live.get("status") or {}
        for name, (size, modified) in listed.items():
            source, target = self._folder / RUN / name, self._run / name
            if ".." in Path(name).parts or not source.is_file():
                continue
            if self._without is not None and name.startswith(self._without):
                self._left_there[name] = (size, modified)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            # Whether two files are the same is told by their times.
            os.utime(target, ns=(modified, modified))
            self._copied[name] = (size, modified)

    def bring_up_to_date(self, part: Part, output: bytes, **facts: Any) -> None:
        """Copy what has changed, then say so; a refusal is noted, and tried again the next time.

        Args:
            part: small files at the top, folders such as checkpoints, or all. Folders take minutes:
                what they would say of a small file is old by then.
            output: the end of what the command printed.
            facts: further values of `live.json`.
        """
        if part == "small":
            self.state = read_status(self._run).get("state")
        try:
            gone = self._copy(part)
            self._tell(output, facts)
            for name in gone:
                (self._folder / RUN / name).unlink(missing_ok=True)
        except OSError as error:
            self._refused.setdefault(part, time.monotonic())
            print(f"The bucket takes no files: {error.strerror}", flush=True)
        else:
            for one in list(self._refused) if part == "all" else [part]:
                self._refused.pop(one, None)

    def _copy(self, part: Part) -> set[str]:
        """Copy new and changed files; names of those that are no more."""
        here = {name: stamp for name, stamp in self._files() if _is_of(name, part)}
        done: dict[str, Stamp] = {}
        halves: set[str] = set()  # what stands at the top, a file or a folder
        for name, stamp in here.items():
            if self._copied.get(name) == stamp:
                continue
            try:
                _copy_file(self._run / name, self._folder / RUN / name)
                done[name] = stamp
            except FileNotFoundError:  # deleted or replaced at this moment
                halves.add(name.partition("/")[0])
        # All at once: a folder that is copied halfway is not there yet, and until it is, what
        # stood in its place before stays.
        self._copied.update({n: s for n, s in done.items() if n.partition("/")[0] not in halves})
        before = {name for name in list(self._copied) if _is_of(name, part)}
        gone = set() if halves else before - set(here)
        for name in gone:
            del self._copied[name]
        return gone

    def _files(self) -> Iterator[tuple[str, Stamp]]:
        for place, folders, names in os.walk(self._run):
            # Half-written files and locks have names with a dot.
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(place, name)
                with contextlib.suppress(FileNotFoundError):
                    stat = path.stat()
                    if not name.startswith("."):
                        stamp = (stat.st_size, stat.st_mtime_ns)
                        yield path.relative_to(self._run).as_posix(), stamp

    def _tell(self, output: bytes, facts: Mapping[str, Any]) -> None:
        with self._telling:  # what is older may not be written later
            status = read_status(self._run)
            # Whoever reads "done" comes for the model, which is whole after the last copy only.
            is_new = any(status.get(name) != self._before.get(name) for name in _ENDING)
            if status.get("state") == "done" and is_new and "ended" not in facts:
                status["state"] = "running"
            live = {
                "v": 1,
                "time": round(time.time(), 3),
                "mark": self._mark,
                "status": status,
                "files": dict(sorted({**self._left_there, **self._copied}.items())),
                **facts,
            }
            _write(self._folder / OUTPUT, output)
            _write(self._folder / LIVE, json.dumps(live).encode())


class Command:
    """The command, in a session of its own."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self._output = bytearray()
        self._lock = threading.Lock()
        self.asked = False
        self._child = subprocess.Popen(
            list(words), cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(self, seconds: float) -> int | None:
        """The exit code; None if it still runs after so long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._child.wait(seconds)
            self._reader.join(5)
            return code
        return None

    def stop(self) -> None:
        """SIGTERM to all of it."""
        self.asked = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to all of it."""
        self._signal(signal.SIGKILL)

    def output(self) -> bytes:
        """The end of what it printed."""
        with self._lock:
            return bytes(self._output)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)

    def _read(self) -> None:
        assert self._child.stdout is not None
        while chunk := os.read(self._child.stdout.fileno(), 2**16):
            with contextlib.suppress(OSError):
                os.write(1, chunk)
            with self._lock:
                self._output += chunk
                del self._output[: -MOST_OUTPUT or None]


def run(
    folder: Path,
    code: Path,
    mark: str,
    every: float,
    seconds: float | None,
    links: Mapping[str, Path],
    words: Sequence[str],
    without: str | None = None,
    begun: float | None = None,
) -> int:
    """Run a command to its end, or until a stop.

    Args:
        folder: the mount.
        code: folder of the package, or of its archive.
        mark: of the task.
        every: seconds between two copies.
        seconds: for which the container is there; None for ever.
        links: further folders and files, by the names under which the command finds them.
        words: of the command.
        without: see `Copy`.
        begun: when the container was, in seconds since the epoch; by default now.

    Returns:
        Its exit code; 0 where it was asked to stop and did; `NO_ROOM` for a full bucket.
    """
    end = None if seconds is None else (begun or time.time()) + seconds
    margin = time_to_save(seconds or 0.0)
    place = Path(tempfile.mkdtemp(prefix="memshield-"))
    local = place / RUN
    local.mkdir()
    code = unpacked(code, place / "code")
    for name, path in {"configs": code / "configs", **links}.items():
        (place / name).symlink_to(path)
    copy = Copy(local, folder, mark, without)
    copy.restore()
    before = read_status(local)
    environment = {**os.environ, "PYTHONPATH": str(code), "PYTHONUNBUFFERED": "1"}
    if end is not None:
        environment[STOP_AT] = str(end - margin)
    command = Command([word.replace("{run}", str(local)) for word in words], environment, place)

    def pass_on(number: int, frame: FrameType | None) -> None:
        command.stop()

    signal.signal(signal.SIGTERM, pass_on)
    heavy: threading.Thread | None = None
    while (ended := _wait(command, every, copy, local)) is None:
        copy.bring_up_to_date("small", command.output())
        if heavy is None or not heavy.is_alive():
            heavy = threading.Thread(
                target=copy.bring_up_to_date, args=("folders", command.output()), daemon=True
            )
            heavy.start()
        refused = copy.refused_since
        if refused is not None and time.monotonic() - refused > WITHOUT_ROOM_SECONDS:
            command.stop()
        if not command.asked and _is_asked_to_stop(folder):
            command.stop()
        if end is not None and time.time() > end - margin * (1 - _GRACE):
            command.kill()
    if heavy is not None:
        heavy.join()
    deadline = time.monotonic() + _LAST_COPY_SECONDS
    copy.bring_up_to_date("all", command.output(), ended=ended)
    while copy.refused_since is not None and time.monotonic() < deadline:
        time.sleep(every)
        copy.bring_up_to_date("all", command.output(), ended=ended)
    status = read_status(local)
    stopped = command.asked or (status != before and status.get("state") == "stopped")
    shutil.rmtree(place, ignore_errors=True)
    if copy.refused_since is not None:
        return NO_ROOM
    # A stop and a time limit are no failures: what they left is whole.
    return 0 if stopped else ended


def _is_asked_to_stop(folder: Path) -> bool:
    try:
        return (folder / STOP).exists()
    except OSError:  # the mount does not answer now; what runs goes on
        return False


def unpacked(code: Path, target: Path) -> Path:
    """The package on this disk, where the mount has it as an archive."""
    if not (code / ARCHIVE).exists():
        return code
    with zipfile.ZipFile(code / ARCHIVE) as archive:
        archive.extractall(target)
    return target


def _wait(command: Command, seconds: float, copy: Copy, run: Path) -> int | None:
    """The exit code; None after so long, or where the state of the run is a new one."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        code = command.wait(min(_LOOK_SECONDS, left))
        if code is not None or read_status(run).get("state") != copy.state:
            return code
    return None


def read_status(run: Path) -> dict[str, Any]:
    """The status that the command wrote; {} where there is none."""
    try:
        return dict(json.loads((run / "status.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def install(requirements: Path) -> None:
    """Install the packages that the code was tested with, unless they are here."""
    wanted = [line.partition("#")[0].strip() for line in requirements.read_text().splitlines()]
    if all(_is_here(one) for one in wanted if one):
        return
    print("Installing packages", flush=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input"]
    subprocess.run([*pip, "-r", str(requirements)], check=True)


def _is_here(requirement: str) -> bool:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None, requirement
    try:
        version = importlib.metadata.version(match[0])
    except importlib.metadata.PackageNotFoundError:
        return False
    pinned = re.search(r"==\s*([^\s,;]+)", requirement)
    # A build for one kind of device has a suffix, such as 2.13.0+cpu.
    return pinned is None or version.partition("+")[0] == pinned[1]


def _write(path: Path, data: bytes) -> None:
    aside = _aside(path)
    aside.write_bytes(data)
    aside.replace(path)


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(target)
    shutil.copyfile(source, aside)
    aside.replace(target)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{threading.get_ident()}.tmp")


def main(argv: Sequence[str]) -> int:
    """Install, run, copy."""
    begun = time.time()  # the time limit counts while packages are installed
    words = list(argv)
    at = words.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--code", type=Path, required=True)
    parser.add_argument("--mark", required=True)
    parser.add_argument("--every", type=float, required=True)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--link", action="append", default=[])
    parser.add_argument("--without")
    own = parser.parse_args(words[:at])
    install(own.code / "requirements.txt")
    links = {name: Path(path) for name, _, path in (one.partition("=") for one in own.link)}
    command = words[at + 1 :]
    return run(
        own.folder, own.code, own.mark, own.every, own.seconds, links, command, own.without,
        begun,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
