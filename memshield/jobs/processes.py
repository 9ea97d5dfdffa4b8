"""Processes of tasks, which outlive the server: starting, recognising and signalling them.

A pid alone proves nothing, for pids are reused, and a launcher may be gone while its training is
not. So the leader of a task is known by pid and start time, and everything below it by a variable
of its environment, which processes in sessions of their own inherit as well.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from memshield.rundir import is_alive

MARK = "MEMSHIELD_TASK"


class ServerProcess(NamedTuple):
    """A process that starts and watches tasks.

    Attributes:
        pid, start_time: of the process.
        nonce: tells several servers of one process apart.
    """

    pid: int
    start_time: float
    nonce: str

    @classmethod
    def here(cls) -> ServerProcess:
        """A new server in this process."""
        return cls(os.getpid(), psutil.Process().create_time(), secrets.token_hex(4))

    @classmethod
    def parse(cls, text: str) -> ServerProcess:
        """From what `str` gave."""
        pid, start_time, nonce = text.split(":")
        return cls(int(pid), float(start_time), nonce)

    def __str__(self) -> str:
        return f"{self.pid}:{self.start_time!r}:{self.nonce}"

    def is_running(self) -> bool:
        """Whether its process is there."""
        return is_running(self.pid, self.start_time)


def start(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own; what it prints is appended to a file.

    Args:
        command: argument list.
        environment: whole environment.
        folder: to run in.
        log: file for its output.

    Raises:
        OSError: it cannot be started, or the file not written.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def start_time_of(pid: int) -> float:
    """When a process of ours was started; it is there until it is waited for."""
    return float(psutil.Process(pid).create_time())


def is_running(pid: int, start_time: float) -> bool:
    """Whether the process with this start time still runs."""
    return is_alive({"host": socket.gethostname(), "pid": pid, "start_time": start_time})


def marked(mark: str) -> list[psutil.Process]:
    """All processes whose environment carries the mark of a task, oldest first."""
    found = []
    for process in psutil.process_iter():
        # Others' processes cannot be read, and any may end while it is looked at.
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return sorted(found, key=lambda process: (process.create_time(), process.pid))


def stop(mark: str, pid: int, start_time: float) -> None:
    """Ask a task to stop: SIGTERM to its group, or to what is left of it."""
    if is_running(pid, start_time):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)
        return
    _signal(marked(mark), signal.SIGTERM)


def kill(mark: str) -> None:
    """End all processes of a task at once, ranks in sessions of their own too."""
    _signal(marked(mark), signal.SIGKILL)


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        # psutil looks at the start time again before it sends anything.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
