"""The words for the states of a job, which the API and the page render."""

from __future__ import annotations

from typing import Literal

from memshield.runs.publication import Step

State = Literal[
    "none",  # never asked for
    "waiting",
    "needs_sign_in",  # it waits, and its owner's token is not known (any more)
    "preparing",
    "running",
    "stopping",
    "stopped",
    "failed",
    "died",  # its processes were killed
    "done",
]
TITLES: dict[State, str] = {
    "none": "Not asked for",
    "waiting": "Waiting in the queue",
    "needs_sign_in": "Waiting for you to sign in",
    "preparing": "Preparing",
    "running": "Running",
    "stopping": "Stopping",
    "stopped": "Stopped",
    "failed": "Failed",
    "died": "Died",
    "done": "Done",
}
TRAINING_TITLES = {**TITLES, "running": "Training"}
TRAINING_WORDS: dict[State, str] = {
    "waiting": "It starts by itself; you may close the page.",
    "preparing": "The model and the pictures are downloaded, checked and prepared.",
    "stopping": "The current step is finished, then everything is saved.",
    "died": "Its process was killed: by a restart of the machine, by hand, or because the machine "
    "ran out of memory.",
    "done": "The model is ready.",
}
"""More on the states of a training; what a stopped one kept is said by `what_is_kept`."""
PUBLICATION_TITLES = {
    "none": "Not published",
    "done": "Published",
    "outdated": "Published, but not this model",
    "failed": "Not published",
    "died": "Interrupted: the publishing process is gone",
    "stopped": "Stopped before it was published",
}
_UPDATE_TITLES = {
    "failed": "Published before; not updated",
    "stopped": "Published before; stopped before it was updated",
}
PUBLICATION_STEPS: dict[Step, str] = {
    "checking": "Check the account, the origins and the audit",
    "assembling": "Assemble the files",
    "creating": "Create the repository",
    "uploading": "Upload in one commit",
    "verifying": "Verify the uploaded files",
    "tagging": "Tag the commit",
}

_ADVICE = {
    "bad_input": "Correct the setting and start again.",
    "diverged": "Train anew with a lower learning rate or more warmup: going on would come to the "
    "same.",
    "crash": "This error is unexpected. The last lines of the log say more; if it happens again, "
    "report it with them.",
}


def publication_title(state: str, before: bool) -> str:
    """The title of a publication; "" while it goes on.

    Args:
        state: of the publication, or "outdated".
        before: whether an earlier attempt published to the same repository.
    """
    if before and state in _UPDATE_TITLES:
        return _UPDATE_TITLES[state]
    return PUBLICATION_TITLES.get(state, "")


def what_is_kept(written: str | None, step: int, checkpoint: int | None) -> str:
    """What is left of a training that was stopped.

    Args:
        written: the state that it wrote; None before its first.
        step: that it reached.
        checkpoint: step of the last one.
    """
    if written is None:
        return "It was stopped before it started."
    if written in ("preparing", "running"):
        # A process that stops by itself changes the state.
        return "It had to be killed before it saved."
    if not checkpoint:
        return "It was stopped before there was anything to save."
    if checkpoint < step:
        return f"Everything up to step {checkpoint:,} is saved, and nothing after it."
    return "Everything is saved."


def advice(error: str | None, checkpoint: int | None) -> str:
    """What can be done about a training that ended early.

    Args:
        error: kind of its failure; None where it did not fail.
        checkpoint: step of the last one.
    """
    words = [_ADVICE[error]] if error in _ADVICE else []
    if error not in ("bad_input", "diverged"):
        words.append(
            f"Resume continues from step {checkpoint:,}."
            if checkpoint
            else "Nothing was saved yet: it starts anew."
        )
    return " ".join(words)
