"""View of what another place says of a run: the machine, its cost so far, its state and page."""

from __future__ import annotations

from memshield.jobs.told import Told
from memshield.jobs.view import JobView
from memshield.jobs.words import TRAINING_TITLES
from memshield.ui.widgets.templates import render


def elsewhere_view(view: JobView) -> str:
    """Show where a run is, unless that is this machine."""
    told = view.elsewhere
    if told is None:
        return ""
    going = view.training.state in ("preparing", "running", "stopping")
    return render(
        "elsewhere", told=told, cost=cost_of(told), going=going,
        ceiling=f"${told.most:.2f}" if told.most else "",
        title=TRAINING_TITLES[view.training.state],
    )  # fmt: skip


def cost_of(told: Told) -> str:
    """What all tasks of a run have cost so far."""
    return f"${told.dollars:.2f}"


def place_of(view: JobView) -> str:
    """The machine of a run and its cost so far, in a few words; "" for this machine."""
    told = view.elsewhere
    return "" if told is None else f"{told.hardware}, {cost_of(told)}"
