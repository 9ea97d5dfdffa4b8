"""publish.json: the state of a publication, apart from that of the training. No torch."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from memshield.config.file import Config
from memshield.config.schema import HubSettings
from memshield.digests import weights_sha256
from memshield.redaction import redact
from memshield.rundir import RunDir, this_process, write_text

VERSION = 1
_KEPT = ("tag", "commit", "url", "public", "weights", "outdated")
State = Literal["running", "failed", "done"]
OnHub = Literal["done", "outdated"]
Step = Literal["checking", "assembling", "creating", "uploading", "verifying", "tagging", "done"]


class Publication:
    """Keeps publish.json of a run.

    Its values: state; step; repo_id; public; reason, in words, where it failed, and problems, the
    same one by one, see `memshield.hub.refusals.noted`; command, to go on with; waiting_until,
    where the Hub is busy; files and bytes; and when it is done tag, commit, url, the digest of the
    weights, and outdated, where the run's model became another one since; published, what was
    done before, see `published_in`. Like status.json it names the process, so that a reader sees
    that it died.
    """

    def __init__(self, run: RunDir, repo_id: str, command: str) -> None:
        self._path = path_of(run)
        self._values: dict[str, Any] = {
            "v": VERSION,
            "state": "running",
            "step": "checking",
            "repo_id": repo_id,
            "reason": None,
            "command": command,
            "process": this_process(0),
            "published": published_in(read_publication(run)),
        }
        self._write()

    def at(self, step: Step, **values: Any) -> None:
        """Note the step that has begun."""
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

    def broke_off(self) -> None:
        """Note an unexpected end, if none was noted since the last step."""
        if self._values["state"] == "running" and sys.exc_info()[0] is not None:
            self.ended("failed", "publishing broke off; the command goes on")

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


def published_in(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every publication that was done, by repository; a later failure leaves it as it is.

    Args:
        values: of publish.json.

    Returns:
        Their tag, commit, url, public, weights and outdated, as far as they are known.
    """
    earlier = values.get("published")
    found = dict(earlier) if isinstance(earlier, dict) else {}
    if values.get("state") == "done":
        found[str(values.get("repo_id"))] = {name: values[name] for name in _KEPT if name in values}
    return found


def on_hub(values: Mapping[str, Any]) -> OnHub | None:
    """Whether the Hub has a run's model, or earlier ones alone; None where it has none.

    Args:
        values: of publish.json.
    """
    published = published_in(values)
    if values.get("state") == "done":
        newest = published[str(values.get("repo_id"))]
        return "outdated" if newest.get("outdated") is True else "done"
    if not published:
        return None
    outdated = all(record.get("outdated") is True for record in published.values())
    return "outdated" if outdated else "done"


def note_model(run: RunDir) -> None:
    """Note whether the run's model, which has changed, is still the published one."""
    values = read_publication(run)
    published = published_in(values)
    if not published:
        return
    weights = weights_sha256(run.model)
    for record in published.values():
        record["outdated"] = record.get("weights") != weights
    if values.get("state") == "done":
        values["outdated"] = values.get("weights") != weights
    values["published"] = published
    write_text(path_of(run), redact(json.dumps(values, indent=1)) + "\n")


def command(run: RunDir, config: Config, beside: Sequence[str] = ()) -> str:
    """The command that continues a publication, with all its settings."""
    words = ["python", "-m", "memshield", "publish", str(run.path.resolve())]
    for name in HubSettings.model_fields:
        value = getattr(config, name)
        if name == "push_to_hub" or value is None:
            continue
        words += [f"--{name}", *(value if isinstance(value, list) else [str(value)])]
    for word in beside:
        words += ["--beside", word]
    return shlex.join(words)
