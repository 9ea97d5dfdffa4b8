"""View of the progress of a run: its state in words, its bar, and its latest figures."""

from __future__ import annotations

from memshield.audit.report import percent
from memshield.jobs.words import TRAINING_TITLES, TRAINING_WORDS, State, advice, what_is_kept
from memshield.quantities import duration
from memshield.runs.state import RunProgress
from memshield.ui.widgets.templates import render
from memshield.ui.widgets.words import STATE_MARKS, time_left


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
        title=TRAINING_TITLES[state],
        mark=STATE_MARKS.get(state, ""),
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
        return f"{place} {TRAINING_WORDS[state]}"
    if state == "stopped":
        return what_is_kept(progress.state, progress.step, progress.checkpoint)
    return TRAINING_WORDS.get(state, "")


def _advice(progress: RunProgress, state: State) -> str:
    """The next step for the visitor."""
    if state not in ("failed", "died", "stopped"):
        return ""
    return advice(progress.error if state == "failed" else None, progress.checkpoint)


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
