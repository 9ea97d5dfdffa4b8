"""Tasks as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping

from memshield.jobs import endings, logs, processes
from memshield.jobs.backends.seam import Begun, Look, Order
from memshield.jobs.commands import ROOT
from memshield.jobs.environment import environment_of
from memshield.jobs.folders import Folders


class LocalProcesses:
    """Starts each task as the leader of a session, and knows it again by pid and start time.

    Args:
        folders: of the server.
        environment: of the server, which tasks inherit but for secrets.
    """

    def __init__(self, folders: Folders, environment: Mapping[str, str] = os.environ) -> None:
        self._folders = folders
        self._environment = environment
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._begun: dict[str, Begun] = {}
        self._codes: dict[str, int] = {}
        self._asked: set[str] = set()

    def start(self, order: Order, token: str | None) -> Begun:
        """Start a task.

        Raises:
            OSError: it cannot be started, or its output not written.
        """
        environment = environment_of(
            order.owner,
            token,
            order.device,
            order.mark,
            self._folders.cache(order.owner),
            self._environment,
        )
        ending = endings.file_beside(order.output)
        ending.unlink(missing_ok=True)  # of a start that was not answered
        environment[endings.VARIABLE] = str(ending)
        child = processes.start(order.work.command, environment, ROOT, order.output)
        self._children[order.mark] = child
        # Noted at once: an end that is noticed takes the process away.
        begun = self._begun[order.mark] = Begun(processes.start_time_of(child.pid), child.pid)
        return begun

    def find(self, order: Order) -> Begun | None:
        """The oldest process that carries the mark of a task."""
        if order.mark in self._begun:
            return self._begun[order.mark]
        found = processes.marked(order.mark)
        return Begun(found[0].create_time(), found[0].pid) if found else None

    def may_have_run(self, order: Order) -> bool:
        """Whether its output file was made."""
        return order.output.exists()

    def look(self, order: Order) -> Look:
        """The state of a task's processes; an output that has grown too long is cut."""
        child = self._children.get(order.mark)
        if child is not None and (code := child.poll()) is not None:
            self._codes[order.mark] = code
            del self._children[order.mark]
            child = None
        # A launcher may be gone before its training.
        if child is not None or _is_running(order) or processes.marked(order.mark):
            # A full disk must not end the thread: the next look tries again.
            with contextlib.suppress(OSError):
                logs.trim(order.output)
            return Look(runs=True)
        self._asked.discard(order.mark)
        self._begun.pop(order.mark, None)
        code = self._codes.pop(order.mark, None)
        ending = endings.read(endings.file_beside(order.output))
        if ending is None:
            return Look(runs=False, exit_code=code)
        # The child of a server that is gone has the code that it noted.
        code = ending.code if code is None else code
        return Look(runs=False, exit_code=code, problem=ending.problem)

    def stop(self, order: Order) -> None:
        """SIGTERM, once."""
        assert order.begun is not None
        assert order.begun.pid is not None
        if order.mark not in self._asked:
            self._asked.add(order.mark)
            processes.stop(order.mark, order.begun.pid, order.begun.time)

    def kill(self, order: Order) -> None:
        """SIGKILL to all processes of a task."""
        processes.kill(order.mark)

    def has_news(self) -> bool:
        """Whether a child has ended."""
        return any(child.poll() is not None for child in self._children.values())


def _is_running(order: Order) -> bool:
    begun = order.begun
    return (
        begun is not None and begun.pid is not None and processes.is_running(begun.pid, begun.time)
    )
