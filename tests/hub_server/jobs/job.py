"""A job: what was asked for, and the child process that it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

ENDED = ("COMPLETED", "CANCELED", "ERROR", "DELETED")


class Job:
    """One job.

    Args:
        id: of the job.
        owner: its namespace.
        spec: as a client sent it.
        command: the spec's, with paths of this machine.
        environment: of the child.
        folder: to run it in.
    """

    def __init__(
        self,
        id: str,
        owner: str,
        spec: Mapping[str, Any],
        command: list[str],
        environment: Mapping[str, str],
        folder: Path,
    ) -> None:
        self.id, self.owner, self.spec = id, owner, spec
        self.stage, self.message = "SCHEDULING", ""
        self.created = time.time()
        self.started: float | None = None
        self.finished: float | None = None
        self.log: list[tuple[float, str]] = []
        self._command, self._environment, self._folder = command, dict(environment), folder
        self._child: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()

    def start(self) -> None:
        """Run the command in a session of its own, for no longer than the timeout."""
        self._child = subprocess.Popen(
            self._command, cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            start_new_session=True,
        )  # fmt: skip
        self.stage, self.started = "RUNNING", time.time()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        timer = threading.Timer(
            float(self.spec.get("timeoutSeconds", 1800)),
            lambda: self.end("ERROR", "Job timeout"),
        )
        timer.daemon = True
        timer.start()

    def fail(self, message: str) -> None:
        """End it before it runs."""
        self.stage, self.message, self.finished = "ERROR", message, time.time()

    def end(self, stage: str, message: str = "", grace: float = 0.0) -> None:
        """End what still runs: SIGTERM with a grace, then SIGKILL."""
        with self._lock:
            if self.stage in ENDED:
                return
            self.stage, self.message, self.finished = stage, message, time.time()
        if self._child is None:
            return
        if grace:
            self._child.terminate()  # the container's first process alone
            deadline = time.monotonic() + grace
            while self._child.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
        self._kill()

    def wait(self) -> None:
        """Until the child is gone and its output read."""
        if self._thread is not None:
            self._thread.join()

    def _kill(self) -> None:
        # A container ends with all that runs in it; here sessions of their own are known by a mark.
        for process in psutil.process_iter():
            try:
                if process.environ().get("JOB_ID") == self.id:
                    process.send_signal(signal.SIGKILL)
            except (psutil.Error, OSError):
                continue

    def _follow(self) -> None:
        child = self._child
        assert child is not None
        assert child.stdout is not None
        for line in child.stdout:
            self.log.append((time.time(), line.rstrip("\n")))
        code = child.wait()
        self._kill()
        with self._lock:
            if self.stage in ENDED:
                return
            self.finished = time.time()
            self.stage = "ERROR" if code else "COMPLETED"
            self.message = f"Job failed with exit code: {code}" if code else ""

    def json(self) -> dict[str, Any]:
        """As the Hub shows it; values of secrets are never shown."""
        spec = self.spec
        return {
            **{name: spec.get(name) for name in (
                "command", "arguments", "environment", "flavor", "labels", "volumes",
                "dockerImage", "spaceId",
            )},
            "id": self.id,
            "secrets": dict.fromkeys(spec.get("secrets") or {}, ""),
            "createdAt": _time(self.created),
            "startedAt": self.started and _time(self.started),
            "finishedAt": self.finished and _time(self.finished),
            "status": {"stage": self.stage, "message": self.message or None},
            "owner": {"id": f"id-{self.owner}", "name": self.owner, "type": "user"},
            "durations": {
                "schedulingSecs": 0,
                "runningSecs": self.started
                and round((self.finished or time.time()) - self.started),
                "totalSecs": round((self.finished or time.time()) - self.created),
            },
        }  # fmt: skip

    def sse(self, tail: int | None) -> bytes:
        """Its output as events."""
        lines = [(self.started or self.created, "===== Job started"), *self.log]
        shown = lines if tail is None else lines[-tail:]
        return b"".join(
            f"data: {json.dumps({'timestamp': _time(at), 'data': text})}\n\n".encode()
            for at, text in shown
        )


def python_path() -> str:
    """A PATH whose `python` is this one, as that of an image with it."""
    return os.pathsep.join((str(Path(sys.executable).parent), os.defpath))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
