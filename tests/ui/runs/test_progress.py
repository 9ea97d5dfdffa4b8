"""The state of a run in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from memshield.audit.progress_file import AuditProgress
from memshield.jobs.words import State
from memshield.runs.progress import read_progress
from memshield.runs.state import RoundEnd, RunProgress
from memshield.ui.runs.progress import progress_view
from memshield.ui.widgets.words import short, time_left
from tests.ui.made_runs import HOSTILE, made_run
from tests.ui.markup import shows_hostile, text_of

HALF = RunProgress(
    state="running", attempt=1, step=1200, total=2400, round=2, rounds=4, shard=1, shards=2,
    loss=0.03125, kept=0.915, eta_s=184.0, elapsed_s=200.0, checkpoint=1000,
)  # fmt: skip


def test_a_run_half_way() -> None:
    html = progress_view(HALF, "running")
    text = text_of(html)
    for words in (
        "Training", "about 3 minutes left", "step 1,200 of 2,400", "50 %", "2 of 4", "1 of 2",
        "0.0312", "92 %", "3 min",
    ):  # fmt: skip
        assert words in text
    assert 'aria-valuenow="1200"' in html
    assert "attempt" not in text
    assert "attempt 3" in text_of(progress_view(replace(HALF, attempt=3), "running"))


@pytest.mark.parametrize("state", get_args(State))
def test_every_state_has_words_even_with_nothing_known(state: State) -> None:
    assert text_of(progress_view(RunProgress(), state))
    assert text_of(progress_view(HALF, state))


def test_the_place_in_the_queue() -> None:
    assert "2 before it" in text_of(progress_view(RunProgress(), "waiting", 3))
    assert "the next to start" in text_of(progress_view(RunProgress(), "waiting", 1))


def test_almost_done_is_not_done() -> None:
    almost = replace(HALF, step=2399)
    assert "99 %" in text_of(progress_view(almost, "running"))
    assert "100 %" in text_of(progress_view(almost, "done"))


def test_a_run_that_its_budget_ended_early_is_not_said_to_be_complete() -> None:
    ends = (RoundEnd(1, 600, 0.1, 1.0, 9.0), RoundEnd(2, 1200, 0.1, 1.0, 9.0))
    text = text_of(progress_view(replace(HALF, round_ends=ends), "done"))
    assert "step 1,200 of 2,400" in text and "50 %" in text and "100 %" not in text
    assert "The model is ready. It ended after round 2 of 4." in text
    whole = (*ends, RoundEnd(4, 2400, 0.1, 1.0, 9.0))
    text = text_of(progress_view(replace(HALF, round_ends=whole), "done"))
    assert "100 %" in text and "ended after" not in text


def test_no_time_is_left_of_the_steps_while_pictures_are_audited() -> None:
    audit = AuditProgress("generating", 1, 300, None)
    for one in (replace(HALF, step=2400, eta_s=0.0), replace(HALF, audit=audit)):
        assert "left" not in text_of(progress_view(one, "running"))


@pytest.mark.parametrize(
    ("state", "changes", "words"),
    [
        (
            "failed",
            {"error": "crash", "reason": "KeyError: 'x'"},
            "Resume continues from step 1,000",
        ),
        ("failed", {"error": "diverged", "reason": "nan"}, "with a lower learning rate"),
        ("failed", {"error": "bad_input", "reason": "rank: is 0"}, "Correct the setting"),
        ("failed", {"error": "crash", "checkpoint": None}, "Nothing was saved yet"),
        ("died", {}, "Resume continues from step 1,000"),
        ("died", {}, "Its process was killed: by a restart"),
        (
            "stopped",
            {"state": "stopped", "reason": "SIGTERM received", "checkpoint": 1200},
            "Everything is saved",
        ),
        ("done", {"reason": "round 2 is kept: best KID"}, "round 2 is kept"),
    ],
)
def test_what_to_do_now(state: State, changes: dict[str, object], words: str) -> None:
    text = text_of(progress_view(replace(HALF, **changes), state))  # type: ignore[arg-type]
    assert words in text
    assert "SIGTERM" not in text
    assert "left" not in text


@pytest.mark.parametrize(
    ("changes", "words", "advice"),
    [
        (
            {"state": None, "checkpoint": None, "step": 0},
            "stopped before it started",
            "starts anew",
        ),
        (
            {"state": "stopped", "checkpoint": None, "step": 0},
            "before there was anything to save",
            "Nothing was saved yet",
        ),
        ({"state": "stopped", "checkpoint": 0, "step": 0}, "anything to save", "starts anew"),
        ({"state": "stopped"}, "up to step 1,000 is saved, and nothing after", "from step 1,000"),
        ({"state": "running"}, "had to be killed before it saved", "from step 1,000"),
        ({"state": "preparing", "checkpoint": None}, "had to be killed before", "starts anew"),
    ],
)
def test_only_what_is_saved_is_said_to_be(
    changes: dict[str, object], words: str, advice: str
) -> None:
    text = text_of(progress_view(replace(HALF, **changes), "stopped"))  # type: ignore[arg-type]
    assert words in text
    assert advice in text
    assert "Everything is saved" not in text


def test_a_hostile_reason_is_shown_as_text() -> None:
    failed = replace(HALF, reason=HOSTILE, error=HOSTILE)
    assert shows_hostile(progress_view(failed, "failed"))


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    first = progress_view(read_progress(run), "running")
    assert progress_view(read_progress(run), "running") == first


def test_numbers_in_words() -> None:
    assert time_left(33) == "about 35 seconds left"
    assert time_left(0) == "a few seconds left"
    assert [short(n) for n in (12, 860_000_000, 2_570_000_000)] == ["12", "860 M", "2.57 B"]
