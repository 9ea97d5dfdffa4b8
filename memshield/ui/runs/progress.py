"""View of the progress of a run: its state in words, its bar, and its latest figures."""

from __future__ import annotations

from memshield.audit.progress_file import AuditProgress
from memshield.audit.report import percent
from memshield.jobs.words import TRAINING_TITLES, TRAINING_WORDS, State, advice, what_is_kept
from memshield.quantities import duration
from memshield.rundir import RunDir
from memshield.runs.state import RunProgress
from memshield.ui.widgets.templates import render
from memshield.ui.widgets.words import STATE_MARKS, time_left


def progress_view(
    progress: RunProgress, state: State, position: int | None = None, elsewhere: bool = False
) -> str:
    """Show the progress of a run.

    Args:
        progress: from the run directory.
        state: of the job, which also knows whether it waits or died.
        position: in the queue, 1 for the next.
        elsewhere: whether another place says why it is so.
    """
    step, total = progress.step, progress.total
    if total is not None:
        step = _end_of(progress, total) if state == "done" else min(step, total)
    share = step / total if total else None
    # Pictures are drawn or audited meanwhile: the steps' pace says nothing of that.
    paced = state == "running" and progress.audit is None and step != total
    return render(
        "progress",
        title=TRAINING_TITLES[state],
        mark=STATE_MARKS.get(state, ""),
        words="" if elsewhere and state in _TOLD else _words(progress, state, position),
        attempt=progress.attempt,
        share=share,
        # Rounded down: 100 % means complete.
        shown=f"{int(100 * share)} %" if share is not None else "",
        step=step,
        total=total,
        moves=state in ("preparing", "running"),
        left=time_left(progress.eta_s) if paced and progress.eta_s is not None else "",
        tiles=_tiles(progress) if state != "waiting" else [],
        reason=progress.reason if state in ("failed", "done") else None,
        tone="alarm" if state in ("failed", "died") else "plain",
        advice=_advice(progress, state),
        phase=phase_view(progress.audit, f"Round {_of(progress.round, progress.rounds)}")
        if state == "running" and progress.audit is not None
        else "",
    )


_TOLD: tuple[State, ...] = ("waiting", "preparing", "died")
_PHASES = {
    "reading the pictures": "downloading and reading the pictures",
    "loading the model": "downloading and loading the model",
    "generating": "drawing pictures",
    "searching for held-out pictures": "looking up held-out pictures",
    "searching for generated pictures": "looking for copies",
    "searching among training pictures": "looking for copies within the set",
    "embedding real pictures": "measuring real pictures",
    "embedding noise": "measuring noise",
    "embedding": "measuring quality",
}
"""What an audit does, in words; what is not listed is a membership-inference attack."""


def phase_view(audit: AuditProgress, where: str) -> str:
    """Show how far an audit is.

    Args:
        audit: its progress.
        where: what is audited, for the beginning of the line.
    """
    words = _PHASES.get(audit.what, f"attacking by {audit.what}")
    counted = [f"{audit.done:,} of {audit.total:,}"] if audit.total > 1 else []
    if audit.eta_s is not None:
        counted.append(time_left(audit.eta_s))
    return render(
        "phase", phase=f"{where} · {words}", counted=", ".join(counted),
        done=min(audit.done, audit.total), total=audit.total,
    )  # fmt: skip


def done_view(run: RunDir, at_home: bool) -> str:
    """Show what can come after a training.

    Args:
        run: with its model.
        at_home: whether the visitor can reach its folder.
    """
    folder = str(run.model) if at_home else None
    return render("done", folder=folder, run=str(run.path))


def _words(progress: RunProgress, state: State, position: int | None) -> str:
    if state == "waiting" and position is not None:
        place = "It is the next to start." if position <= 1 else f"{position - 1} before it."
        return f"{place} {TRAINING_WORDS[state]}"
    if state == "stopped":
        return what_is_kept(progress.state, progress.step, progress.checkpoint)
    words = TRAINING_WORDS.get(state, "")
    ends, rounds = progress.round_ends, progress.rounds
    if state == "done" and ends and rounds is not None and ends[-1].round < rounds:
        return f"{words} It ended after round {ends[-1].round} of {rounds}."
    return words


def _end_of(progress: RunProgress, total: int) -> int:
    """The step at which a training ended: a memorization budget can end it early."""
    return min(progress.round_ends[-1].step, total) if progress.round_ends else total


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
