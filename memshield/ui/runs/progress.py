"""View of the progress of a run: its state in words, its bar, and its latest figures."""

from __future__ import annotations

from memshield.audit.report import percent
from memshield.jobs.view import TITLES, State
from memshield.quantities import duration
from memshield.runs.state import RunProgress
from memshield.ui.widgets.templates import render
from memshield.ui.widgets.words import count, time_left

_TITLES = {**TITLES, "running": "Training"}
_MARKS: dict[State, str] = {
    "running": "running", "preparing": "running", "stopping": "running", "done": "done",
    "failed": "failed", "died": "failed", "stopped": "stopped",
}  # fmt: skip
_WORDS: dict[State, str] = {
    "waiting": "It starts by itself; you may close the page.",
    "preparing": "The model and the pictures are downloaded, checked and prepared.",
    "stopping": "The current step is finished, then everything is saved.",
    "died": "The training's process is gone, and nobody stopped it.",
    "done": "The model is ready to be audited and published.",
}
_ADVICE = {
    "bad_input": "Correct the setting and start again.",
    "crash": "This error is unexpected. The last lines of the log say more.",
}


def progress_view(progress: RunProgress, state: State, position: int | None = None) -> str:
    """Show the progress of a run.

    Args:
        progress: from the run directory.
        state: of the job, which also knows whether it waits or died.
        position: in the queue, 1 for the next.
    """
    step, total = progress.step, progress.total
    if total is not None:
        step = total if state == "done" else min(step, total)
    share = step / total if total else None
    return render(
        "progress",
        title=_TITLES[state],
        mark=_MARKS.get(state, ""),
        words=_words(progress, state, position),
        attempt=progress.attempt,
        share=share,
        # Rounded down: 100 % means complete.
        shown=f"{int(100 * share)} %" if share is not None else "",
        step=step,
        total=total,
        moves=state in ("preparing", "running"),
        left=time_left(progress.eta_s) if state == "running" and progress.eta_s is not None else "",
        tiles=_tiles(progress) if state != "waiting" else [],
        reason=progress.reason if state in ("failed", "done") else None,
        tone="alarm" if state in ("failed", "died") else "plain",
        advice=_advice(progress, state),
    )


def _words(progress: RunProgress, state: State, position: int | None) -> str:
    if state == "waiting" and position is not None:
        place = "It is the next to start." if position <= 1 else f"{position - 1} before it."
        return f"{place} {_WORDS[state]}"
    if state == "stopped":
        return _stopped(progress)
    return _WORDS.get(state, "")


def _stopped(progress: RunProgress) -> str:
    """What is kept of a stopped run."""
    if progress.state is None:
        return "It was stopped before it started."
    if progress.state in ("preparing", "running"):
        # A process that stops by itself changes the state.
        return "It had to be killed before it saved."
    if not progress.checkpoint:
        return "It was stopped before there was anything to save."
    if progress.checkpoint < progress.step:
        return f"Everything up to step {count(progress.checkpoint)} is saved, and nothing after it."
    return "Everything is saved."


def _advice(progress: RunProgress, state: State) -> str:
    """The next step for the visitor."""
    if state not in ("failed", "died", "stopped"):
        return ""
    error = progress.error if state == "failed" else None
    words = [_ADVICE.get(error or "", "")]
    if error != "bad_input":
        words.append(
            f"Resume continues from step {count(progress.checkpoint)}."
            if progress.checkpoint
            else "Nothing was saved yet: it starts anew."
        )
    return " ".join(word for word in words if word)


def _tiles(progress: RunProgress) -> list[tuple[str, str]]:
    one = progress
    tiles = [
        ("round", _of(one.round, one.rounds)),
        ("shard", _of(one.shard, one.shards)),
        ("loss", f"{one.loss:.4f}" if one.loss is not None else ""),
        ("samples kept", percent(one.kept) if one.kept is not None else ""),
        ("time taken", duration(one.elapsed_s) if one.elapsed_s else ""),
    ]
    return [(name, value) for name, value in tiles if value]


def _of(number: int | None, total: int | None) -> str:
    if number is None:
        return ""
    return f"{number} of {total}" if total is not None else str(number)
