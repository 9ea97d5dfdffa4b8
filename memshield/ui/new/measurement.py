"""Measures a training on this machine before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import gradio as gr

from memshield.errors import UserError
from memshield.forecast.flavours import hardware_of
from memshield.jobs.requests import PLAN
from memshield.ui.form.choices import on_this_machine
from memshield.ui.form.planning import Plan
from memshield.ui.new.own_pictures import for_job
from memshield.ui.server.server import Server
from memshield.ui.widgets.log import log_text_view
from memshield.ui.widgets.problems import problems_view, status_view

KIND: Final = "measure"
_CHANGED = "The form has changed since the measurement. Measure again."


@dataclass(frozen=True)
class Measurement:
    """The state of a measurement.

    Attributes:
        html: describes it.
        busy: whether it is still going on.
        plan: with the measured time and memory; None before the end.
    """

    html: str
    busy: bool
    plan: Plan | None = None


def start_measurement(server: Server, plan: Plan, token: gr.OAuthToken | None) -> None:
    """Queue a few steps of a training.

    Raises:
        UserError: it is refused, or the visitor has one going on.
    """
    values = for_job(server, on_this_machine(plan.values), token)
    server.jobs.requests.measure(server.owner(token), values, needs_token=plan.needs_token)


def read_measurement(
    server: Server, measured: Plan | None, current: Plan | None, token: gr.OAuthToken | None
) -> Measurement:
    """Read the state of a visitor's measurement.

    Args:
        server: the page's server.
        measured: the plan being measured; None if the page was opened since.
        current: the plan of the form when it was last checked.
        token: of the visitor.

    Raises:
        UserError: the visitor is signed out, or the result cannot be read.
    """
    request = server.jobs.requests.view(server.owner(token), KIND)
    if request is None:
        return Measurement("", False)
    progress = request.progress
    if request.busy:
        return Measurement(status_view(f"Measuring: {progress.words.lower()}"), True)
    if progress.state == "done":
        if measured is None or current is None or current.values != measured.values:
            return Measurement(status_view(_CHANGED), False)
        hardware = hardware_of(server.machine)
        memory = hardware.memory_bytes if hardware is not None else None
        text = _read_text(request.results / PLAN)
        return Measurement("", False, measured.with_measurement(text, memory))
    if progress.state == "stopped":
        return Measurement(status_view(f"Measuring: {progress.words.lower()}"), False)
    reason = progress.reason or "it ended without giving a reason"
    html = problems_view(UserError("Measuring", reason), title="The measurement failed")
    if progress.last_lines:
        html += log_text_view("\n".join(progress.last_lines))
    return Measurement(html, False)


def stop_measurement(server: Server, token: gr.OAuthToken | None) -> None:
    """Stop a visitor's measurement.

    Raises:
        UserError: there is none.
    """
    server.jobs.requests.stop(server.owner(token), KIND)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
