"""The page's server as a process of its own: `python app.py`, started, watched and ended.

Nothing is scripted in it: the trainings that it starts are real, but for those that nobody looks
at.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import psutil

from memshield.jobs.processes import MARK
from tests.hub_server.environment import child_environment
from tests.trained_runs import ROOT

if TYPE_CHECKING:
    from tests.hub_server import HubServer

_IDLE = """
import sys, time
if "accelerate.commands.launch" in sys.orig_argv:
    time.sleep(3600)
"""
PATIENCE = 120.0
"""Seconds that a busy machine may take for anything; nothing here is a timing."""


class Running:
    """A page's server, and what it keeps.

    Attributes:
        url: of the page.
        data: folder of jobs, runs and uploads.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str, data: Path, log: Path) -> None:
        self.process = process
        self.url = url
        self.data = data
        self._log = log

    @property
    def received(self) -> Path:
        """Where gradio puts uploads."""
        return self.data.parent / "gradio"

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    @property
    def said(self) -> str:
        """Everything that the server printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def runs(self) -> list[Path]:
        """Run directories of all jobs."""
        return sorted(path.parent for path in self.data.glob("jobs/*/*/status.json"))

    def state(self) -> str | None:
        """What the only run says of itself; None before it says anything."""
        found = self.runs()
        return None if not found else str(read_status(found[0]).get("state"))

    def kill(self) -> None:
        """SIGKILL, as a machine that is out of memory does it."""
        self.process.kill()
        self.process.wait()


def read_status(run: Path) -> dict[str, Any]:
    """A run's status.json."""
    return dict(json.loads((run / "status.json").read_text()))


def home_environment(folder: Path, endpoint: str = "http://127.0.0.1:9") -> dict[str, str]:
    """Of a server at home; by default nothing answers where the Hub should be."""
    values = child_environment(os.environ, endpoint, folder / "hf", None)
    return values | {
        "OMP_NUM_THREADS": "1",
        "MEMSHIELD_CACHE": str(folder / "cache"),
        "GRADIO_TEMP_DIR": str(folder / "gradio"),
    }


def space_environment(
    folder: Path, hub: HubServer, operators_token: str, scopes: str = "contribute-repos"
) -> dict[str, str]:
    """Of a server on a Space, whose Hub and sign-in are on loopback.

    Args:
        folder: of the server.
        hub: knows the app `app` with the secret `of-the-app`.
        operators_token: that the Space was given as a secret.
        scopes: that visitors are asked for.
    """
    return home_environment(folder, hub.endpoint) | {
        "SYSTEM": "spaces",
        "SPACE_ID": "operator/memshield",
        "OAUTH_CLIENT_ID": "app",
        "OAUTH_CLIENT_SECRET": "of-the-app",
        "OAUTH_SCOPES": f"openid profile {scopes}",
        "OPENID_PROVIDER_URL": hub.endpoint,
        "HF_TOKEN": operators_token,
    }


def with_idle_trainings(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """A server's environment in which trainings only wait, where no test looks at what they do.

    Args:
        environment: of the server otherwise.
        folder: for the module that every Python process imports as it starts.
    """
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(_IDLE)
    return {**environment, "PYTHONPATH": str(folder)}


@contextlib.contextmanager
def serving(folder: Path, environment: Mapping[str, str]) -> Iterator[Running]:
    """Start the page, wait until it answers, and stop it; trainings go on as they would."""
    running = start(folder, environment)
    try:
        yield running
    finally:
        running.process.terminate()
        try:
            running.process.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()


def start(
    folder: Path, environment: Mapping[str, str], port: int | None = None, app: Path = ROOT
) -> Running:
    """Start the page and wait until it answers.

    Args:
        folder: its data goes there.
        environment: all of it but for its data, address and port.
        port: to listen on; a free one without.
        app: folder of the app.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, data = port or free_port(), folder / "data"
    log = folder / f"server-{time.time_ns()}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=app,
            env={
                **environment,
                "MEMSHIELD_DATA": str(data),
                "GRADIO_SERVER_NAME": "127.0.0.1",
                "GRADIO_SERVER_PORT": str(port),
            },
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    # Not 127.0.0.1: sign-in's cookie is for secure origins, and Chromium takes this name for one.
    running = Running(process, f"http://localhost:{port}", data, log)

    def answers() -> bool:
        assert process.poll() is None, running.said
        with contextlib.suppress(httpx2.TransportError):
            return httpx2.get(f"http://127.0.0.1:{port}/", timeout=5).status_code == 200
        return False

    try:
        until(answers)
    except BaseException:
        running.kill()
        raise
    return running


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait for something to be true; what it was."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)
    return found


def end_tasks(data: Path) -> None:
    """Kill what the jobs below a folder left running, and nothing else."""
    ids = {path.name for path in (data / "jobs").glob("*")}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK, "").rpartition(":")[0] in ids:
                process.kill()
