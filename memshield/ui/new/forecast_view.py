"""View of the forecast of a training: its steps, time, memory and price."""

from __future__ import annotations

from memshield.config.recommendations import Advice
from memshield.forecast.estimate import Estimate, Range
from memshield.forecast.hardware import is_busy
from memshield.quantities import plural
from memshield.ui.form.planning import UNCOUNTED, Plan, advice_of
from memshield.ui.form.strengths import RECOMMENDED_STRENGTH
from memshield.ui.form.where import Destination, cost_sentences
from memshield.ui.widgets.problems import status_view
from memshield.ui.widgets.templates import render
from memshield.ui.widgets.words import about, dollars_in_words

_SIGN_IN_FOR_JOBS = "/login/huggingface?_target_url=/&scope=jobs"
UNREADABLE = "The time is shown here once the settings can be read."
_FITS = {"yes": "fits", "perhaps": "may not fit", "no": "does not fit", None: ""}


def estimate_view(made: Plan | None, words: str = UNREADABLE) -> str:
    """Show the time on this machine.

    Args:
        made: the plan; None if there is none.
        words: shown while the time is not known.
    """
    here = None if made is None else made.here
    cost = here.dollars if here is not None and here.dollars and here.dollars.high else None
    return render(
        "estimate", here=here, words=words, busy=is_busy(),
        cost=cost and dollars_in_words(cost.low, cost.high),
    )  # fmt: skip


def cost_view(made: Plan | None, there: Destination | None) -> str:
    """Show what a training on Jobs costs, and what its ceiling means."""
    return "" if there is None else render("cost", lines=cost_sentences(made, there))


def right_to_jobs_view(may: bool, on_space: bool) -> str:
    """Show whether a visitor may run Jobs, and the way to it.

    Args:
        may: whether a token that may is known.
        on_space: whether visitors sign in; at home they give a token.
    """
    return render("right_to_jobs", may=may, on_space=on_space, sign_in=_SIGN_IN_FOR_JOBS)


def forecast_view(made: Plan) -> str:
    """The counts of a plan, and its time and memory on this machine and on others."""
    if made.counted is None:
        return status_view(UNCOUNTED) if made.config is not None else ""
    counted, here = made.counted, made.here
    few, many = min(counted.shards), max(counted.shards)
    each = f"{few:,}" if few == many else f"{few:,} to {many:,}"
    watched = f", {counted.watched:,} watched while training" if counted.watched else ""
    facts = [
        ("pictures", f"{counted.members:,} pictures to train on, {counted.held_out:,} held out for "
                     f"the audit{watched}"),
        ("shards", f"{len(counted.shards)} of {each} pictures" if len(counted.shards) > 1
                   else "one with all pictures: no aggregation"),
    ]  # fmt: skip
    if made.cut_captions is not None:
        facts.append(("captions", made.cut_captions))
    if counted.steps is not None:
        facts.append(
            ("steps", f"{counted.steps:,} in {plural(counted.rounds, 'round')}; every picture is "
                      f"seen {counted.epochs:.1f} times"))  # fmt: skip
    if counted.audits:
        facts.append(
            ("audits", f"{counted.audits:,}, of {counted.audit_images:,} generated pictures each")
        )
    if here is not None:
        facts.append(("time", f"about {about(here.middle_s)} on {here.place}, {here.basis}"))
        facts.append(("memory", _memory(here)))
        if here.dollars is not None:
            facts.append(("price", _dollars(here.dollars)))
    return render(
        "forecast",
        facts=facts,
        advice=[(one.words, _inputs(one)) for one in advice_of(made)],
        how=None if here is None else _how(here),
        rows=[_row(one) for one in made.elsewhere],
        priced=any(one.dollars is not None for one in made.elsewhere),
        command="python -m memshield plan --config config.yaml --measure",
    )


def _how(here: Estimate) -> str:
    return "runs" if here.by_runs else "measured" if here.measured else "estimated"


def _inputs(advice: Advice) -> str:
    """The settings of a recommendation, by their names on the page."""
    if "timestep_bias_share" in advice.settings:
        return f"Strength of the mitigation: {RECOMMENDED_STRENGTH:g}"
    named = {
        "num_shards": "Shards",
        "memorization_budget": "Memorization budget",
        "held_out_fraction": "Held out fraction",
    }
    return "; ".join(
        f"{named.get(name, name.replace('_', ' '))}: {value}"
        for name, value in advice.settings.items()
    )


def _row(estimate: Estimate) -> dict[str, str]:
    return {
        "name": estimate.hardware,
        "device": estimate.device,
        "time": f"about {about(estimate.middle_s)}",
        "memory": f"{_gigabytes(estimate.memory_bytes)}, {_FITS[estimate.fits]}",
        "price": "" if estimate.dollars is None else _dollars(estimate.dollars),
    }


def _memory(estimate: Estimate) -> str:
    there = estimate.memory_there
    if there is None:
        return _gigabytes(estimate.memory_bytes)
    words = f"{_gigabytes(estimate.memory_bytes)} of {there / 1e9:.0f} GB: {_FITS[estimate.fits]}"
    if estimate.fits == "no":
        words += "; lower the batch or the resolution, or turn on gradient checkpointing"
    return words


def _gigabytes(memory: Range) -> str:
    return f"{memory.low / 1e9:.1f} to {memory.high / 1e9:.1f} GB"


def _dollars(dollars: Range) -> str:
    return f"${dollars.low:.2f} to ${dollars.high:.2f}"
