"""Views of the pictures that a published model draws: their progress, and their warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memshield.audit.report import percent
from memshield.jobs.commands import as_typed
from memshield.jobs.task_progress import TaskProgress
from memshield.quantities import plural
from memshield.sampling.record import Made, Samples
from memshield.sampling.request import SampleArguments
from memshield.ui.widgets.log import log_text_view
from memshield.ui.widgets.pictures import Picture, picture_in
from memshield.ui.widgets.problems import empty_view
from memshield.ui.widgets.templates import render
from memshield.ui.widgets.words import STATE_MARKS

NOTHING = ("No pictures yet", "Choose a model above, then generate.")
SIGNED_OUT = (
    "Sign in to generate",
    "Anybody can verify a model. To draw pictures on this server, sign in.",
)
_WHILE, _AFTER = 256, 512
"""Longer side of a picture while others are being drawn, and afterwards."""
_PIXELS = 128
"""Pictures shown up to this size are enlarged without smoothing."""
_STAGES = {
    "fetching": "Downloading the model and checking every file",
    "loading": "Loading the model",
    "comparing": "Comparing with the training pictures",
}


@dataclass(frozen=True)
class _Shown:
    """A picture with its assessment: a sign and words, never a colour alone."""

    made: Made
    picture: Picture | None
    nearest: Picture | None
    level: str
    sign: str
    words: str
    detail: str


def generating_view(
    progress: TaskProgress,
    arguments: SampleArguments,
    samples: Samples | None,
    run: str | None = None,
) -> str:
    """Show the progress of drawing.

    Args:
        progress: of the process.
        arguments: the request.
        samples: the pictures so far.
        run: what its owner calls the run; None for its folder's name.
    """
    total = arguments.request.total
    done = len(samples.pictures) if samples is not None else 0
    share = None
    if progress.state == "running" and samples is not None and samples.stage == "drawing":
        share = min(1.0, (done + samples.step / samples.steps) / total)
    problem = samples.problem if samples is not None else None
    bad = progress.state in ("failed", "died", "needs_sign_in")
    lines = () if problem else progress.last_lines
    typed = replace(arguments, against=None, output_dir=Path("samples")).words()
    return render(
        "generating",
        title=_title(progress, samples, done, total),
        mark=STATE_MARKS.get(progress.state, ""),
        model=_name_of(arguments, run),
        total=total,
        done=done,
        prompts=arguments.request.prompts,
        words=_words(progress, samples),
        share=share,
        moves=progress.state in ("preparing", "running", "stopping"),
        problem=(problem or progress.reason or progress.words) if bad else None,
        log=log_text_view("\n".join(lines)) if bad and lines else "",
        command=as_typed(["python", "-m", "memshield", "sample", *typed]),
    )


def _name_of(arguments: SampleArguments, run: str | None) -> str:
    """What to call the model: an id on the Hub, or the run and perhaps a round."""
    if arguments.revision is not None:
        return arguments.target
    name = run or Path(arguments.target).name
    return name if arguments.round is None else f"{name}, round {arguments.round}"


def _title(progress: TaskProgress, samples: Samples | None, done: int, total: int) -> str:
    if progress.state == "done":
        return "Done"
    if progress.state == "stopped":
        return f"Stopped after {done} of {plural(total, 'picture')}" if done else "Stopped"
    if progress.state != "running" or samples is None:
        return progress.words
    if samples.stage == "drawing":
        return f"Drawing: {done} of {plural(total, 'picture')}"
    return _STAGES.get(samples.stage, progress.words)


def _words(progress: TaskProgress, samples: Samples | None) -> str:
    if progress.state == "waiting":
        return "It starts by itself, after what runs now; you may close the page."
    if progress.state == "running" and samples is not None and samples.stage == "drawing":
        return f"step {samples.step} of {samples.steps}" if samples.step else ""
    return ""


def generated_view(
    samples: Samples | None, folder: Path, busy: bool, run: str | None = None
) -> str:
    """Show the pictures by prompt, each with its assessment.

    Args:
        samples: the pictures so far.
        folder: with their files.
        busy: whether more will come.
        run: what its owner calls the run they are compared with; None for its folder's name.
    """
    if samples is None or not samples.pictures:
        return ""
    shown = [_shown(one, samples, folder, busy) for one in samples.pictures]
    groups: dict[str | None, list[_Shown]] = {}
    for one in shown:
        groups.setdefault(one.made.prompt, []).append(one)
    tone, head = _summary(samples, shown, run or samples.run)
    return render(
        "generated",
        tone=tone,
        head=head,
        rule=_rule(samples),
        groups=list(groups.items()),
        number=len(shown),
        few_pixels=_PIXELS,
    )


def _shown(made: Made, samples: Samples, folder: Path, busy: bool) -> _Shown:
    side = _WHILE if busy else _AFTER
    warning = made.warning
    nearest = None
    if warning is not None and warning.nearest is not None:
        nearest = picture_in(folder / Path(warning.nearest).name, side)
    picture = picture_in(folder / Path(made.file).name, side)
    return _Shown(made, picture, nearest, *_assessment(made, samples, busy))


def _assessment(made: Made, samples: Samples, busy: bool) -> tuple[str, str, str, str]:
    """Level, sign, words and details of a picture's assessment."""
    if made.broken:
        return "near_copy", "✕", "Broken", "The model returned values that are not numbers."
    warning, rule = made.warning, samples.rule
    if warning is None or rule is None:
        if busy and samples.compared is not None:
            return "unknown", "…", "Being compared", ""
        return "unknown", "–", "Not compared", ""
    detail = f"ratio {warning.value:.2f}, threshold {rule.threshold:.2f}"
    if warning.as_near is not None and warning.level == "close":
        detail += f"; at most {percent(warning.as_near)} of fresh real pictures are as near"
    if warning.mirrored and warning.level != "none":
        detail += "; mirrored"
    if warning.level == "near_copy":
        return "near_copy", "⚠", "Near-copy of a training picture", detail
    if warning.level == "close":
        return "close", "◐", "Closer than usual", detail
    return "none", "·", "No near-copy found", detail


def _summary(samples: Samples, shown: Sequence[_Shown], run: str | None) -> tuple[str, str]:
    """Tone and words of the box above the pictures."""
    if samples.not_compared is not None:
        return "ms-plain", samples.not_compared
    whole = [one for one in shown if not one.made.broken]
    if not whole:
        return "ms-alarm", f"Broken: {plural(len(shown), 'picture')}, and none could be compared."
    broken = len(shown) - len(whole)
    copies = sum(one.level == "near_copy" for one in whole)
    close = sum(one.level == "close" for one in whole)
    open_ = sum(one.level == "unknown" for one in whole)
    number = len(whole) - open_
    against = f"the {plural(samples.compared or 0, 'training picture')} of your run {run}"
    if copies:
        be = "is a near-copy" if copies == 1 else "are near-copies"
        words = f"{copies} of {plural(number, 'picture')} {be} of what your run {run} was "
        return (
            "ms-alarm",
            f"⚠ {words}trained on. Whoever sees such a picture sees a training picture.",
        )
    if open_:
        compared = f"{number} of {plural(len(whole), 'picture')} so far"
        return "ms-plain", f"Compared with {against}: {compared}."
    words = f"None of {plural(number, 'picture')} is a near-copy of {against}."
    if len(shown) == 1:
        words = f"The picture is no near-copy of {against}."
    if broken:
        be = "is broken and was" if broken == 1 else "are broken and were"
        words += f" {broken} more {be} not compared."
    if close:
        be = "is" if close == 1 else "are"
        return "", f"{words} {close} {be} closer than usual."
    # Noise is no near-copy either: that nothing was found is not praised.
    return "ms-plain", words


def _rule(samples: Samples) -> str:
    """Explain the rule in a sentence."""
    rule = samples.rule
    if rule is None:
        return ""
    if rule.source == "fixed":
        return (
            "These training pictures have no audit that tells what is usual among them, so a "
            "fixed rule is used: a near-copy is less than a third as far from its nearest "
            f"training picture as from the second nearest ({rule.statistic}). Audit the run to get "
            "a threshold of its own."
        )
    passed = f", which {percent(rule.chance)} of fresh real pictures pass" if rule.chance else ""
    return (
        f"The threshold, {rule.threshold:.2f}{passed}, comes from the audit; it compares "
        f"the {rule.statistic} in pixels. It does not find copies that are shifted, rotated or "
        "recoloured."
    )


def nothing_view(signed_in: bool) -> str:
    """The placeholder before any picture was requested."""
    return empty_view(*(NOTHING if signed_in else SIGNED_OUT))
