"""Views of an audit of any model: how far it is, what failed, and its report to keep."""

from __future__ import annotations

import base64
import time
from functools import lru_cache
from pathlib import Path

from memshield.audit.report import PAGE, REPORT, Report
from memshield.audit.statements import statements_of
from memshield.jobs.model_audit_request import ModelAuditArguments, is_folder
from memshield.jobs.model_audits import ModelAudit
from memshield.runs.reports import readable_in
from memshield.ui.runs.progress import phase_view
from memshield.ui.widgets.log import log_text_view
from memshield.ui.widgets.problems import empty_view
from memshield.ui.widgets.templates import render
from memshield.ui.widgets.words import STATE_MARKS

NOTHING = empty_view(
    "No audits yet", "Name a model and the pictures that it was trained on, and start one above."
)
SIGNED_OUT = empty_view(
    "Sign in to audit a model", "Only you can see your audits and the pictures in them."
)
PROMPT_WORDS = {
    "train": "training captions: the worst case",
    "held_out": "captions of held-out pictures",
    "perturbed": "training captions, slightly changed",
}
FOLDER = "for-audits"
"""Folder of the pictures that are uploaded for audits, among the owner's others."""
_BAD = ("failed", "died", "needs_sign_in")


def line_of(audit: ModelAudit) -> str:
    """An audit in a line: its model, its state or what it found, and when it was asked for."""
    when = time.strftime("%d %b", time.localtime(audit.created))
    report = readable_in(audit.folder) if audit.progress.state == "done" else None
    found = audit.progress.words if report is None else _found(report)
    return f"{audit.name} · {found} · {when}"


def _found(report: Report) -> str:
    if report.generated.is_broken:
        return "the model is broken"
    copies = statements_of(report)[0]
    if copies.tone == "alarm":
        return "copies found"
    return "cannot say" if report.headline.excess is None else "no sign of copies"


def audited_view(audit: ModelAudit, at_home: bool) -> str:
    """Show how far an audit is, and links to its report.

    Args:
        audit: of the visitor.
        at_home: whether the visitor can reach its folder.
    """
    progress = audit.progress
    state, lines = progress.state, progress.last_lines
    waits = "It starts by itself, after what runs now; you may close the page."
    files = _files(audit.folder) if state == "done" else []
    return render(
        "audited",
        model=audit.name,
        title="Auditing" if state == "running" else progress.words,
        mark=STATE_MARKS.get(state, ""),
        words=waits if state == "waiting" else "",
        phase=phase_view(audit.phase, "Audit") if audit.phase and state == "running" else "",
        moves=state in ("preparing", "running", "stopping"),
        problem=(progress.reason or progress.words) if state in _BAD else None,
        log=log_text_view("\n".join(lines)) if state in _BAD and lines else "",
        facts=_facts(audit.arguments),
        files=files,
        folder=str(audit.folder) if files and at_home else None,
        command=audit.command,
    )


def _facts(asked: ModelAuditArguments) -> list[tuple[str, str]]:
    dataset = _shown(asked.dataset) + (f", {asked.split}" if asked.split else "")
    if asked.held_out is not None:
        held_out = _shown(asked.held_out)
        held_out += f", {asked.held_out_split}" if asked.held_out_split else ""
    elif asked.held_out_split is not None:
        held_out = f"the split {asked.held_out_split}"
    elif asked.held_out_share is not None:
        held_out = f"the last {asked.held_out_share} % of the pictures"
    else:
        held_out = "none: nothing is said of chance, of quality or of membership"
    facts = [
        ("base", "" if asked.base is None else _shown(asked.base)),
        ("trained on", dataset),
        ("held out", held_out),
        ("prompts", PROMPT_WORDS[asked.prompts] if asked.prompts else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _shown(name: str) -> str:
    """A Hub id; of a folder its name, or that it was uploaded."""
    if not is_folder(name):
        return name
    path = Path(name)
    return "your upload" if FOLDER in path.parts else path.name


def _files(folder: Path) -> list[tuple[str, str]]:
    """The report's files as data that a browser can save: the server serves no files."""
    found = []
    for name, kind in ((PAGE, "text/html"), (REPORT, "application/json")):
        path = folder / name
        if path.is_file():
            stat = path.stat()
            uri = _uri(path, kind, stat.st_mtime_ns, stat.st_size)
            found.append((name, uri))
    return found


@lru_cache(maxsize=8)
def _uri(path: Path, kind: str, mtime: int, size: int) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
