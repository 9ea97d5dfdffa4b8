"""publish.json: how far publishing got, apart from the state of the training. No torch."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Any, Literal

from memshield.redaction import redact
from memshield.rundir import RunDir, this_process, write_text

VERSION = 1
State = Literal["running", "failed", "done"]
Step = Literal["checking", "assembling", "creating", "uploading", "verifying", "tagging", "done"]


class Publication:
    """Keeps publish.json of a run.

    Its values: state; step; repo_id; public; reason, in words, where it failed; command, to go
    on with; waiting_until, where the Hub is busy; files and bytes; and when it is done tag,
    commit and url. Like status.json it names the process, so that a reader sees that it died.
    """

    def __init__(self, run: RunDir, repo_id: str) -> None:
        self._path = path_of(run)
        self._values: dict[str, Any] = {
            "v": VERSION,
            "state": "running",
            "step": "checking",
            "repo_id": repo_id,
            "reason": None,
            "command": command(run, repo_id),
            "process": this_process(0),
        }
        self._write()

    def at(self, step: Step, **values: Any) -> None:
        """Note what is being done now."""
        self._values.update(step=step, waiting=None, **values)
        self._write()

    def waits(self, words: str) -> None:
        """Note that the Hub is busy."""
        self._values["waiting"] = words
        self._write()

    def ended(self, state: State, reason: str | None = None, **values: Any) -> None:
        """Note how it ended."""
        self._values.update(state=state, reason=reason, waiting=None, **values)
        self._write()

    def _write(self) -> None:
        values = {**self._values, "time": round(time.time(), 3)}
        write_text(self._path, redact(json.dumps(values, indent=1)) + "\n")


def path_of(run: RunDir) -> Path:
    """Where publish.json lies."""
    return run.path / "publish.json"


def read_publication(run: RunDir) -> dict[str, Any]:
    """The last state of publishing, or {} where nothing was published."""
    try:
        return dict(json.loads(path_of(run).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def command(run: RunDir, repo_id: str) -> str:
    """The one command that goes on."""
    return (
        f"python -m memshield publish {shlex.quote(str(run.path))} "
        f"--hub_model_id {shlex.quote(repo_id)}"
    )
