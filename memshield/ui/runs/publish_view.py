"""Views of what would be published, and of the progress of publishing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from memshield.errors import UserError
from memshield.hub.publish.destination import Destination
from memshield.jobs.words import PUBLICATION_STEPS, publication_title
from memshield.runs.publication import Step, published_in
from memshield.ui.widgets.problems import NOT_PUBLISHED, each, empty_view
from memshield.ui.widgets.templates import render
from memshield.ui.widgets.words import STATE_MARKS

MOST_FILES = 200
_MARKS = {
    "done": ("✓", "done"), "now": ("▸", "now"), "failed": ("✕", "failed"),
    "stopped": ("■", "stopped"), "": ("·", "to do"),
}  # fmt: skip


def plan_view(
    destination: Destination | None,
    findings: UserError | Sequence[UserError] = (),
    folder: Path | None = None,
) -> str:
    """Show what would be published where, and the problems.

    Args:
        destination: None if it is not known.
        findings: problems to mend or confirm.
        folder: filled by `Publisher.preview`; None if it was not assembled.
    """
    found = each(findings)
    files = _files(folder) if folder is not None else []
    if destination is None and not found and not files:
        return empty_view(*NOT_PUBLISHED)
    return render(
        "plan",
        destination=destination,
        findings=found,
        files=files[:MOST_FILES],
        more=max(0, len(files) - MOST_FILES),
        number=len(files),
        total=sum(size for _, size in files),
    )


def publication_view(
    values: Mapping[str, Any],
    ended: Literal["died", "stopped"] | None = None,
    problems: Sequence[UserError] = (),
) -> str:
    """Show the progress of publishing.

    Args:
        values: of publish.json; {} if nothing was published.
        ended: how the process ended that the file calls running.
        problems: why it failed; without any, the file's own reason is shown.
    """
    if not values:
        return empty_view(*NOT_PUBLISHED)
    state = str(values.get("state"))
    if ended is not None and state == "running":
        state = ended
    if state == "done" and values.get("outdated") is True:
        state = "outdated"
    url = str(values.get("url") or "")
    published, is_there = published_in(values), state in ("done", "outdated")
    return render(
        "publication",
        state=state,
        title=publication_title(state, str(values.get("repo_id")) in published) or "Publishing",
        mark=STATE_MARKS.get(state, "running"),
        steps=_steps(state, str(values.get("step"))),
        waiting=values.get("waiting") if state == "running" else None,
        problems=each(problems) if state == "failed" else [],
        reason=values.get("reason") if state == "failed" and not problems else None,
        url=_linked(url),
        repo_id=values.get("repo_id"),
        public=values.get("public"),
        facts=_facts(values),
        others=[
            (
                name,
                _linked(str(record.get("url") or "")),
                record.get("public"),
                record.get("outdated") is True,
            )
            for name, record in published.items()
            # What an earlier attempt published stays on the Hub where a later one fails.
            if not is_there or name != values.get("repo_id")
        ],
        command=values.get("command") if state in ("failed", "died", "stopped") else None,
    )


def _linked(url: str) -> str:
    """An address, if it is one of the web: only those become links."""
    return url if urlsplit(url).scheme in ("http", "https") else ""


def _steps(state: str, step: str) -> list[tuple[str, str, str, bool]]:
    """Mark, its meaning, words, and whether it is the current step."""
    names = [name for name in get_args(Step) if name in PUBLICATION_STEPS]
    at = names.index(step) if step in names else len(names) if state in ("done", "outdated") else 0
    rows = []
    for place, name in enumerate(names):
        kind = "done" if place < at else ""
        if place == at:
            kind = {"failed": "failed", "died": "failed", "stopped": "stopped"}.get(state, "now")
        rows.append((*_MARKS[kind], PUBLICATION_STEPS[name], place == at))
    return rows


def _facts(values: Mapping[str, Any]) -> list[tuple[str, str | int]]:
    names = {"tag": "tag", "commit": "commit", "files": "files", "bytes": "size"}
    facts = [(shown, values.get(name)) for name, shown in names.items()]
    return [(name, value) for name, value in facts if isinstance(value, (str, int))]


def _files(folder: Path) -> list[tuple[str, int]]:
    found = [
        (path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    ]
    return sorted(found)
