"""The charts of a run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from memshield.runs.progress import read_progress
from memshield.runs.reports import read_rounds
from memshield.runs.series import Dot
from memshield.runs.state import Audited, RunProgress
from memshield.ui.runs.charts import MOST_ROWS, charts_view, figures_view
from memshield.ui.widgets.scale import Scale, nice_step, scale_of
from tests.ui.made_runs import HOSTILE, audit_round, event, made_run, write_events
from tests.ui.markup import shows_hostile, text_of

ONE = RunProgress(
    step=1, total=10, loss=0.5, losses=(Dot(1, 0.5),), kept_by_shard=((1, (Dot(1, 1),)),)
)


def test_loss_and_shares_are_drawn_and_described(tmp_path: Path) -> None:
    html = charts_view(read_progress(made_run(tmp_path / "run")))
    text = text_of(html)
    assert "Loss" in text
    assert "Samples kept, by shard" in text
    assert "Memorization" not in text
    assert 'aria-label="Loss by step: from' in html
    assert html.count("<path") == 3
    assert "optimizer steps of the whole run" in text
    assert "nan" not in html


def test_a_run_without_a_step_says_so() -> None:
    assert "No figures yet" in text_of(charts_view(RunProgress()))
    assert figures_view(RunProgress()) == ""


def test_a_single_step_is_a_dot() -> None:
    html = charts_view(ONE)
    text_of(html)
    assert "<path" not in html
    assert html.count("<circle") == 2


@pytest.mark.parametrize("loss", [0.0, -1.0, 1e-30, 1e30])
def test_any_loss_can_be_drawn(loss: float) -> None:
    for losses in ((Dot(1, loss),), (Dot(1, loss), Dot(2, loss)), (Dot(1, loss), Dot(2, 0.1))):
        html = charts_view(replace(ONE, losses=losses, loss=loss))
        text_of(html)
        assert "nan" not in html
        assert "inf" not in html


def test_a_loss_that_spans_is_drawn_by_its_logarithm() -> None:
    spans = replace(ONE, losses=(Dot(1, 1.0), Dot(2, 0.01)))
    assert "logarithmic" in text_of(charts_view(spans))
    assert "logarithmic" not in text_of(charts_view(ONE))


def test_many_shards_are_summed_up() -> None:
    many = tuple((k, (Dot(k, 0.5),)) for k in range(1, MOST_ROWS + 9))
    text = text_of(charts_view(replace(ONE, kept_by_shard=many, shards=MOST_ROWS + 10)))
    assert "8 other shards: 50 % kept on average" in text
    assert "2 shards without figures" in text


def test_audits_are_drawn_with_the_budget(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    note = {"excess": 0.02, "excess_interval": [-0.01, 0.05], "quality": 0.4}
    write_events(run, [event("audit", round=1, quality_measure="KID", **note)], "a")
    html = charts_view(read_progress(run), budget=0.05)
    text = text_of(html)
    assert "2.0 % in round 1, within the budget" in text
    assert "budget, 5.0 %" in text
    assert "Given back beyond chance by round, with 95 % intervals: round 1 2.0 %" in html
    text = text_of(charts_view(read_progress(run), budget=0.01))
    assert "2.0 % in round 1, which chance may explain" in text, "as the choice of a round has it"


def test_an_audit_is_over_the_budget_with_its_whole_interval_beyond_chance() -> None:
    audited = replace(ONE, audits=(Audited(1, 0.02, (0.01, 0.03), None, None),))
    assert "2.0 % in round 1, over the budget" in text_of(charts_view(audited, budget=0.01))


def test_less_than_chance_is_nothing_and_no_negative_share() -> None:
    audited = replace(ONE, audits=(Audited(3, -0.01, (-0.03, 0.01), None, None),))
    html = charts_view(audited, budget=0.05)
    assert "none in round 3, within the budget" in text_of(html)
    assert "round 3 none (at most 1.0 %)" in html


def test_reports_say_more_than_notes(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    write_events(run, [event("audit", round=1, excess=0.5, excess_interval=None)], "a")
    audit_round(run, 1, 0.1, 0.5)
    audit_round(run, 2, None, 0.4)
    reports = read_rounds(run)
    html = charts_view(read_progress(run), reports)
    assert "10 % in round 1" in text_of(html)
    assert "KID (pixels), lower is better" in text_of(html)
    table = text_of(figures_view(read_progress(run), reports))
    assert "cannot say" in table
    assert "7.0 % to 13 %" in table


def test_a_hostile_measure_is_shown_as_text() -> None:
    audited = Audited(1, 0.1, (0.0, 0.2), 0.5, HOSTILE)
    hostile = replace(ONE, audits=(audited,))
    assert shows_hostile(charts_view(hostile))
    assert shows_hostile(figures_view(hostile))


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    first = charts_view(read_progress(run)), figures_view(read_progress(run))
    assert (charts_view(read_progress(run)), figures_view(read_progress(run))) == first


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-0.3, 0.7, [-0.2, 0, 0.2, 0.4, 0.6]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert Scale(low, high).ticks() == pytest.approx(ticks)


def test_ticks_of_whole_numbers_are_whole() -> None:
    assert Scale(0.5, 3.5, whole=True).ticks() == [1, 2, 3]
    assert all(tick == int(tick) for tick in Scale(0, 7, whole=True).ticks())


def test_ticks_of_a_logarithm_are_powers() -> None:
    assert Scale(1e-4, 1.0, log=True).ticks() == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert Scale(0.02, 0.9, log=True).ticks(8) == pytest.approx([0.02, 0.05, 0.1, 0.2, 0.5])
    assert 1 <= len(Scale(1e-30, 1e30, log=True).ticks()) <= 8


def test_places_run_from_end_to_end() -> None:
    scale = Scale(1e-2, 1.0, log=True)
    assert [scale.place(v) for v in (0.001, 0.01, 0.1, 1, 10)] == [0, 0, 50, 100, 100]
    for step in (0.001, 0.7, 3.0, 999.0):
        assert step <= nice_step(step) <= 2.5 * step * (1 + 1e-9)
    for values in ([0.0], [3.0], [-2.0], [0.0, 0.0], [1.0, 2.0]):
        for zero in (False, True):
            scale = scale_of(values, zero=zero)
            assert scale.low < scale.high
            assert all(math.isfinite(scale.place(value)) for value in values)
