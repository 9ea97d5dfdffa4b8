"""The first screen: three ways to start, each in a sentence, with its time on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memshield.forecast.cost import ModelSize
from memshield.forecast.estimate import Estimate
from memshield.forecast.hardware import Machine, is_busy
from memshield.ui.form.choices import Choices
from memshield.ui.form.inputs import Kind, Where
from memshield.ui.form.planning import Pace, forecast
from memshield.ui.widgets.templates import render
from memshield.ui.widgets.words import about

TOO_LONG = 86_400.0
"""Seconds that nobody waits for a first result."""
_SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
_SD15_SIZE = ModelSize("stable_diffusion", 859_520_964, 512)
_PICTURES, _FEW = 1000, 100
_ANY = Path("pictures")


@dataclass(frozen=True)
class Way:
    """A way to start.

    Attributes:
        name: of the way.
        title, words: what it is.
        start: the words of its button.
        kind, where: what it chooses in the form.
    """

    name: str
    title: str
    words: str
    start: str
    kind: Kind
    where: Where


def ways(machine: Machine) -> tuple[Way, Way, Way]:
    """The three ways to start on a machine: without a GPU, own pictures train a small model."""
    own: Kind = "hub" if machine.gpus else "scratch"
    learns = "A model from the Hub learns them" if machine.gpus else "A new small model learns them"
    return (
        Way(
            "demo", "Try the demo",
            "Trains on 1,797 handwritten digits and looks for copies, from start to end. It needs "
            "no network and no sign-in.",
            "Start the demo", "demo", "hub",
        ),
        Way(
            "own", "Train on my pictures",
            f"Upload them; they stay yours. {learns}, and an audit shows how much it gives back.",
            "Upload pictures", own, "upload",
        ),
        Way(
            "hub", "Improve a model from the Hub",
            "Fine-tune Stable Diffusion, FLUX and others on a dataset of the Hub, so that they "
            "give less of it back.",
            "Choose a model", "hub", "hub",
        ),
    )  # fmt: skip


def way_view(way: Way, time: str = "") -> str:
    """Show a way to start.

    Args:
        way: to show.
        time: that it takes, in words; "" while it is not known.
    """
    return render("choice", title=way.title, words=way.words, time=time)


def times(machine: Machine, pace: Pace | None) -> tuple[str, str, str]:
    """How long each of the three ways takes on a machine, in words.

    Args:
        machine: that would train.
        pace: of earlier runs.
    """
    demo = forecast(Choices(), machine, Choices().starting_point.rows, pace=pace).here
    scratch = Choices(recipe="pixels_from_scratch", folder=_ANY)
    small = forecast(scratch, machine, _PICTURES, pace=pace).here
    lora = Choices(recipe="sd_lora", model=_SD15, folder=_ANY)
    large = forecast(lora, machine, _FEW, pace=pace, size=_SD15_SIZE).here
    own = _example(large, _FEW) if machine.gpus else _example(small, _PICTURES)
    return _in_words(demo), own, _example(large, _FEW)


def _in_words(here: Estimate | None) -> str:
    if here is None:
        return ""
    words = f"About {about(here.middle_s)} on this machine ({here.basis})"
    return (
        f"{words}; longer while it is busy, as it is now"
        if is_busy() and not here.by_runs
        else words
    )


def _example(here: Estimate | None, pictures: int) -> str:
    if here is None:
        return ""
    if here.middle_s > TOO_LONG:
        return f"For {pictures:,} pictures, too long on this machine: it needs a GPU"
    return f"{pictures:,} pictures: about {about(here.middle_s)} on this machine ({here.basis})"
