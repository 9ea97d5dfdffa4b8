"""Measuring a training on this machine before it is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import gradio as gr

from memshield.errors import UserError
from memshield.forecast.flavours import hardware_of
from memshield.jobs.requests import PLAN
from memshield.ui.form.choices import on_this_machine
from memshield.ui.form.planning import Plan
from memshield.ui.server.server import Server
from memshield.ui.widgets.log import log_text_view
from memshield.ui.widgets.problems import problems_view, status_view

KIND: Final = "measure"
_CHANGED = "It was measured, but the form has changed since. Measure again."


@dataclass(frozen=True)
class Measurement:
    """How measuring goes.

    Attributes:
        said: HTML to show.
        busy: whether to ask again.
        plan: with what was measured; None before.
    """

    said: str
    busy: bool
    plan: Plan | None = None


def begin(server: Server, made: Plan, token: gr.OAuthToken | None) -> None:
    """Queue a few steps of a training.

    Raises:
        UserError: it is refused, or one is under way.
    """
    values: Mapping[str, Any] = on_this_machine(made.values)
    server.jobs.errands.measure(server.owner(token), values, needs_token=made.needs_token)


def look(
    server: Server, under: Plan | None, shown: Plan | None, token: gr.OAuthToken | None
) -> Measurement:
    """How a visitor's measuring goes.

    Args:
        server: see there.
        under: what is measured; None on a page that was opened since.
        shown: what the form was the last time that it was looked at.
        token: of the visitor.

    Raises:
        UserError: the visitor is signed out, or what was measured cannot be read.
    """
    errand = server.jobs.errands.view(server.owner(token), KIND)
    if errand is None:
        return Measurement("", False)
    how = errand.progress
    if errand.busy:
        return Measurement(status_view(f"Measuring: {how.words.lower()}"), True)
    if how.state == "done":
        if under is None or shown is None or shown.values != under.values:
            return Measurement(status_view(_CHANGED), False)
        hardware = hardware_of(server.machine)
        there = hardware.memory_bytes if hardware is not None else None
        return Measurement("", False, under.measured(_written(errand.results / PLAN), there))
    if how.state == "stopped":
        return Measurement(status_view(f"Measuring: {how.words.lower()}"), False)
    reason = how.reason or "it ended without a word"
    said = problems_view(UserError("Measuring", reason), title="It could not be measured")
    if how.last_lines:
        said += log_text_view("\n".join(how.last_lines))
    return Measurement(said, False)


def stop(server: Server, token: gr.OAuthToken | None) -> None:
    """Stop a visitor's measuring.

    Raises:
        UserError: nothing is measured.
    """
    server.jobs.errands.stop(server.owner(token), KIND)


def _written(path: Any) -> str:
    try:
        return str(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return ""
