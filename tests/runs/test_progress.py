"""Reading how far a run is: as it grows, torn, truncated, resumed; and for days."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memshield.runs.progress import MOST_DOTS, Follower, fingerprint, read_progress
from memshield.runs.series import Series
from tests.ui.made_runs import (
    audit_round,
    event,
    made_run,
    save_grid,
    step_event,
    write_events,
    write_status,
)


def test_a_run_in_the_middle(tmp_path: Path) -> None:
    found = read_progress(made_run(tmp_path / "run"))
    assert (found.step, found.total) == (60, 66)
    assert (found.round, found.rounds, found.shard, found.shards) == (3, 3, 2, 2)
    assert found.eta_s == 41.0
    assert found.elapsed_s == 59.0
    assert found.checkpoint == 60
    assert [end.round for end in found.round_ends] == [1, 2]
    assert [number for number, _ in found.kept_by_shard] == [1, 2]


def test_nothing_there_yet(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    for path in (run.events, run.status, run.config):
        path.unlink()
    found = read_progress(run)
    assert (found.state, found.step, found.total, found.attempt) == (None, 0, None, 0)


def test_reading_as_it_grows_is_reading_it_whole(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    text = run.events.read_bytes()
    follower = Follower(run)
    run.events.write_bytes(b"")
    with run.events.open("ab") as file:
        for start in range(0, len(text), 777):  # cuts lines anywhere
            file.write(text[start : start + 777])
            file.flush()
            follower.read()
    assert follower.read() == Follower(run).read()
    assert follower.read().step == 60


def test_torn_and_strange_lines_are_left_out(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    expected = Follower(run).read()
    strange = [
        '{"type": "step", "st',
        "[1, 2]",
        "\x00\xff",
        "null",
        json.dumps({**event("step", loss=1.0), "step": "9"}),
        json.dumps({**event("step", loss=1.0), "step": True}),
        json.dumps(event("audit", round=None)),
        json.dumps(event("round", step=3)),
        '{"type": "unheard of", "step": 3, "attempt": {}}',
    ]
    with run.events.open("a", encoding="utf-8") as file:
        file.write("\n".join(strange) + "\n")
    assert Follower(run).read() == expected


@pytest.mark.parametrize("loss", ["NaN", "1e999", '"0.5"', "null", "9" * 400, "[]"])
def test_a_loss_that_is_no_number_is_not_drawn(tmp_path: Path, loss: str) -> None:
    run = made_run(tmp_path / "run", steps=6)
    with run.events.open("a", encoding="utf-8") as file:
        file.write(json.dumps(step_event(7, loss=0)).replace('"loss": 0', f'"loss": {loss}') + "\n")
    found = read_progress(run)
    assert (found.step, found.loss, len(found.losses)) == (7, None, 6)


def test_a_truncated_file_is_read_anew(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    follower = Follower(run)
    assert follower.read().step == 60
    write_events(run, [step_event(1)])
    assert follower.read().step == 1
    assert len(follower.read().losses) == 1


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", steps=6)
    follower = Follower(run)
    follower.read()
    aside = tmp_path / "aside"
    aside.write_bytes(b"\n" + run.events.read_bytes().replace(b'"step": 6', b'"step": 7'))
    aside.replace(run.events)
    assert follower.read().step == 7


def test_a_resumed_run_does_its_steps_again(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", steps=60)
    again = [{**step_event(step, loss=9.0, round=2), "attempt": 2} for step in range(31, 41)]
    write_events(run, again, "a")
    write_status(run, state="running", attempt=2, total_steps=66)
    found = Follower(run).read()
    assert found.step == 40
    assert [dot.step for dot in found.losses] == list(range(1, 41))
    assert found.losses[-1].value == 9.0
    # The second round is not over any more.
    assert [end.round for end in found.round_ends] == [1]


def test_audits_of_rounds_that_were_gone_back_from_are_gone(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", steps=60)
    audits = [{"type": "audit", "round": n, "excess": 0.1 * n, "step": 30 * n} for n in (0, 1, 2)]
    write_events(run, audits, "a")
    assert [one.round for one in read_progress(run).audits] == [0, 1, 2]
    write_events(run, [{**step_event(31, loss=9.0, round=2), "attempt": 2}], "a")
    assert [one.round for one in read_progress(run).audits] == [0, 1]


def test_an_estimate_of_the_attempt_before_is_not_told(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    write_status(run, state="running", attempt=2, total_steps=66)
    assert read_progress(run).eta_s is None


def test_a_status_that_is_broken_is_none(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    for text in ("{", "7", '"x"'):
        run.status.write_text(text)
        assert read_progress(run).state is None
        assert fingerprint(run)


def test_a_long_run_stays_short_to_draw(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", steps=12_000, shards=4)
    found = read_progress(run)
    assert 100 <= len(found.losses) <= MOST_DOTS
    assert found.losses[-1].step == 12_000
    assert all(len(dots) <= 60 for _, dots in found.kept_by_shard)


def test_a_thinned_line_keeps_its_mean() -> None:
    series = Series(8)
    for step in range(1, 65):
        series.add(step, float(step))
    dots = series.dots()
    assert len(dots) == 8
    assert sum(dot.value for dot in dots) / 8 == pytest.approx(32.5)
    series.cut(20)
    assert [dot.step for dot in series.dots()] == [8, 16]


def test_the_fingerprint_changes_with_what_is_shown(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    seen = [fingerprint(run)]
    assert fingerprint(run) == seen[0]
    for change in (
        lambda: write_events(run, [step_event(61)], "a"),
        lambda: write_status(run, state="stopped", attempt=1),
        lambda: save_grid(run, 1),
        lambda: audit_round(run, 1, 0.1, 0.5),
        lambda: (run.path / "publish.json").write_text("{}"),
        lambda: run.model.mkdir(),
    ):
        change()
        seen.append(fingerprint(run))
    assert len(set(seen)) == len(seen)


def test_a_heartbeat_alone_is_no_change(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    write_status(run, state="running", heartbeat=1.0)
    before = fingerprint(run)
    write_status(run, state="running", heartbeat=2.0)
    assert fingerprint(run) == before


def test_what_the_scan_found_also_in_runs_of_older_versions(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", steps=6)
    old = event("data", lines=["pictures      12 found", 7, "shards        1: 12 pictures"])
    write_events(run, [old])
    assert Follower(run).read().pictures == (
        ("", "pictures      12 found"),
        ("", "shards        1: 12 pictures"),
    )
    new = event("data", facts=[["pictures", "12 found"], ["one"], [1, "x"], "xy", None])
    write_events(run, [old, new])
    assert Follower(run).read().pictures == (("pictures", "12 found"),)
    write_events(run, [event("data", facts="none")])
    assert Follower(run).read().pictures == ()
