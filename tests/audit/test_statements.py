"""The two statements of an audit, and how they read."""

from __future__ import annotations

from typing import Any

import pytest

from memshield.audit.choose import is_over
from memshield.audit.measures import SIMILARITY
from memshield.audit.report import SECOND, Memorization, Quality, Report
from memshield.audit.report_view import excess_interval_words, excess_words
from memshield.audit.statements import lines_of, statements_of, tone_of
from tests.audit.reports import report_of


def audited(excess: float | None, kid: float, **quality: Any) -> Report:
    """An audit of 100 pictures, of which chance gives 1; fresh pictures are at 0, noise at 1."""
    report = report_of(excess, kid)
    values = {"fresh": 0.0, "noise": 1.0, **quality}
    return report.model_copy(update={"quality": (report.quality[0].model_copy(update=values),)})


def words(report: Report, base: Report | None = None) -> tuple[str, str]:
    copies, quality = statements_of(report, base)
    return copies.words, quality.words


@pytest.mark.parametrize(
    ("excess", "said", "short"),
    [
        (
            -0.01,
            "none in 100 pictures; fewer than 1 in 33 could be missed",
            "no copies in 100",
        ),
        (
            0.01,
            "no more than chance: 2 of 100 pictures, by chance 1",
            "copies no more than chance",
        ),
        (0.2, "21 of 100 pictures, where chance makes about 1", "21 copies in 100"),
        (None, "unknown", "copies unknown"),
    ],
)
def test_copies_in_words(excess: float | None, said: str, short: str) -> None:
    copies, _ = statements_of(audited(excess, 0.01))
    assert (copies.words, copies.short) == (said, short)


@pytest.mark.parametrize(
    ("kid", "said", "tone"),
    [
        (0.02, "close to fresh pictures", "calm"),
        (-0.01, "close to fresh pictures", "calm"),
        (0.3, "rough", ""),
        (0.995, "not better than noise", "alarm"),
        (3.0, "not better than noise", "alarm"),
    ],
)
def test_quality_in_words(kid: float, said: str, tone: str) -> None:
    report = audited(-0.01, kid)
    assert words(report)[1] == said
    assert statements_of(report)[1].tone == tone


def test_pictures_without_variety_are_not_close_to_fresh_ones() -> None:
    """One blurred picture again and again has the colours of all, and a small KID."""
    report = audited(-0.01, 0.02)
    kid = report.quality[0]
    recall = kid.model_copy(
        update={"measure": "recall", "value": 0.02, "better": "higher", "fresh": 0.9, "noise": None}
    )
    copies, quality = statements_of(report.model_copy(update={"quality": (kid, recall)}))
    assert (quality.words, quality.tone, copies.tone) == ("without variety", "", "")
    assert "They cover 2.0 % of the held-out pictures, where fresh ones cover 90 %." in (
        quality.detail
    )
    varied = recall.model_copy(update={"value": 0.3})
    assert words(report.model_copy(update={"quality": (kid, varied)}))[1] == (
        "close to fresh pictures"
    )


def test_what_the_squared_ratio_misses_is_told() -> None:
    """Three in ten pictures are copies by the second neighbour, and the squared ratio says none."""
    report = audited(-0.01, 0.01)
    squared = report.headline
    second = audited(0.3, 0.01).headline.model_copy(update={"statistic": SECOND, "p_value": 1e-9})
    both = report.model_copy(update={"memorization": (squared, second)})
    copies, _ = statements_of(both)
    assert both.headline is second and is_over(both, 0.02)
    assert copies.words == "31 of 100 pictures, where chance makes about 1"
    assert "compared with the next one" in copies.detail
    assert copies.tone == "alarm"
    assert both.curve == squared.curve
    # More than chance by both: the one that finds more.
    more = audited(0.4, 0.01).headline
    assert report.model_copy(update={"memorization": (more, second)}).headline is more


def test_another_measure_that_finds_copies_takes_the_calm() -> None:
    report = audited(-0.01, 0.01)
    similar = audited(0.3, 0.01).headline.model_copy(
        update={"statistic": SIMILARITY, "space": "SSCD", "p_value": 1e-9}
    )
    both = report.model_copy(update={"memorization": (report.headline, similar)})
    copies, quality = statements_of(both)
    assert both.headline is report.headline and not is_over(both, 0.02)
    assert copies.words == "not ruled out: another measure finds 30 % beyond chance"
    assert f"By {SIMILARITY}, in SSCD, 31 % do." in copies.detail
    assert (copies.tone, quality.tone) == ("", "")
    unsure = similar.model_copy(update={"p_value": 0.03})
    by_chance = report.model_copy(update={"memorization": (report.headline, unsure)})
    assert statements_of(by_chance)[0].tone == "calm"


def test_a_wide_interval_is_no_proof_of_a_bad_model() -> None:
    """With ten held-out pictures that of a perfect model reaches noise."""
    said = statements_of(audited(-0.01, 0.02, interval=(-1.2, 1.3)))[1]
    assert said.words == "unknown: too few pictures are held out to tell it from noise"
    assert said.tone == ""
    assert statements_of(audited(-0.01, 0.8, interval=(0.5, 1.1)))[1].tone == "alarm"


def test_a_base_that_was_good_already_is_no_reason_for_an_alarm() -> None:
    for before, tone in ((0.01, ""), (0.5, "alarm")):
        model, base = audited(-0.01, before + 0.01), audited(-0.01, before)
        said = statements_of(model, base)[1]
        assert said.words == "not better than before the training"
        assert said.tone == tone


def test_figures_stand_in_the_details() -> None:
    copies, quality = statements_of(audited(-0.01, 0.3))
    assert "excess at most 2.0 %, 95 % interval" in copies.detail
    assert quality.detail == (
        "KID 0.3 (0.29 to 0.31) in pixels, where fresh pictures have 0 and noise 1: 30 % of the "
        "way to noise."
    )


def test_a_model_that_learned_nothing_is_not_praised() -> None:
    learned_nothing = audited(-0.01, 1.2)
    copies, quality = statements_of(learned_nothing)
    assert copies.words.startswith("none in 100")
    assert (copies.tone, quality.tone) == ("", "alarm")
    assert tone_of(learned_nothing) == "alarm"
    good = audited(-0.01, 0.01)
    assert [one.tone for one in statements_of(good)] == ["calm", "calm"]
    assert tone_of(good) == "calm"
    assert tone_of(audited(-0.01, 0.3)) == "", "rough, and gives nothing back"
    assert [one.tone for one in statements_of(audited(0.3, 0.01))] == ["alarm", ""]


def test_the_untrained_base_is_an_anchor_too() -> None:
    base = audited(-0.01, 0.2)
    assert words(audited(-0.01, 0.25), base)[1] == "not better than before the training"
    better = audited(-0.01, 0.1)
    assert words(better, base)[1] == "rough"
    assert "Before it was trained, the model had 0.2." in statements_of(better, base)[1].detail


def test_an_audit_without_anchors_says_nothing_of_quality() -> None:
    old = audited(-0.01, 0.01, fresh=None, noise=None)
    assert words(old)[1] == "unknown: there is nothing to hold it against"
    assert tone_of(old) == ""
    assert "noise" not in old.model_dump_json(), "an old report is written as it was"
    nothing = old.model_copy(update={"quality": ()})
    assert words(nothing)[1] == "unknown: it was not measured"


def test_less_than_chance_is_none_and_not_negative() -> None:
    assert excess_words(-0.05) == excess_words(0.0) == "none"
    assert excess_words(0.05) == "5.0 %"
    assert excess_interval_words((-0.05, 0.03)) == "at most 3.0 %"
    assert excess_interval_words((-0.05, -0.01)) == "none"
    assert excess_interval_words((0.02, 0.05)) == "2.0 % to 5.0 %"
    assert "-" not in lines_of(audited(-0.01, 0.01))


def test_a_broken_model_is_unknown() -> None:
    report = report_of(0.0, 0.01, broken=80)
    assert statements_of(report)[0].words == "unknown: the model is broken"
    assert statements_of(report)[0].tone == ""


def test_types_of_a_report_hold() -> None:
    report = audited(0.1, 0.2)
    assert isinstance(report.headline, Memorization) and isinstance(report.quality[0], Quality)
    assert Report.model_validate_json(report.model_dump_json()) == report
