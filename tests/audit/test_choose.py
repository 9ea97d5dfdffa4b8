from __future__ import annotations

import pytest

from memshield.audit.choose import choose, excess_of, is_over
from tests.audit.reports import report_of


def test_the_best_quality_within_the_budget_is_chosen() -> None:
    reports = [
        report_of(excess=0.0, kid=0.5),
        report_of(excess=0.015, kid=0.2),
        report_of(excess=0.019, kid=0.3),
        report_of(excess=0.08, kid=0.1),
    ]
    choice = choose(reports, 0.02)
    assert (choice.place, choice.within) == (1, True)
    assert "0.2" in choice.reason
    assert choose(reports, 0.1).place == 3


def test_what_chance_may_explain_is_within_the_budget() -> None:
    unsure, sure = report_of(excess=0.028, kid=0.1), report_of(excess=0.032, kid=0.1)
    assert unsure.headline.excess_interval is not None
    assert unsure.headline.excess_interval[0] < 0
    assert not is_over(unsure, 0.02) and is_over(sure, 0.02)
    choice = choose([report_of(excess=0.0, kid=0.5), unsure], 0.02)
    assert (choice.place, choice.within) == (1, True)
    assert choice.reason.endswith("2.8 % beyond chance, which chance may explain")
    assert choose([report_of(excess=0.0, kid=0.5), sure], 0.02).place == 0


def test_of_equal_quality_the_later_round_is_chosen() -> None:
    reports = [report_of(excess=0.0, kid=0.5), report_of(excess=0.0, kid=0.5)]
    assert choose(reports, 0.02).place == 1


def test_where_none_is_within_the_least_beyond_chance_is_chosen_and_said() -> None:
    choice = choose([report_of(excess=0.2, kid=0.1), report_of(excess=0.1, kid=0.5)], 0.02)
    assert (choice.place, choice.within) == (1, False)
    assert "none is within" in choice.reason


def test_broken_models_and_audits_that_cannot_say_are_passed_over() -> None:
    reports = [
        report_of(excess=0.0, kid=0.5),
        report_of(excess=0.0, kid=0.1, broken=90),
        report_of(excess=None, kid=0.1),
    ]
    assert choose(reports, 0.02).place == 0
    last = choose(reports[2:], 0.02)
    assert (last.place, last.within) == (0, False)


def test_a_budget_can_be_on_the_papers_fixed_alpha() -> None:
    report = report_of(excess=0.0, kid=0.1, curve={0.3: (0.4, 0.1), 0.4: (0.6, 0.5)})
    assert excess_of(report, 0.3) == pytest.approx(0.3)
    assert excess_of(report, 0.4) == pytest.approx(0.1)
    assert excess_of(report, 0.9) is None
    assert not choose([report], 0.2, alpha=0.3).within
    assert choose([report], 0.2, alpha=0.4).within
