"""An audit on the page, the rounds, and what is for the owner only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memshield.audit.report import PRIVATE, REPORT, Attack, AuditedModel, Missing, Report
from memshield.errors import UserError
from memshield.runs.reports import read_audit, read_rounds
from memshield.ui.runs.at_risk import at_risk_view
from memshield.ui.widgets.audit import audit_view, earlier_view, rounds_view
from tests.audit.reports import report_of
from tests.ui.made_runs import HOSTILE, audit_round, made_run
from tests.ui.markup import shows_hostile, text_of

CURVE = {alpha / 100: (alpha / 100, alpha / 200) for alpha in range(0, 101, 5)}
URI = "data:image/png;base64,iVBORw0KGgo="


def full(**changes: Any) -> Report:
    attack = Attack(
        attack="loss", members=100, held_out=30, auc=0.53, auc_interval=(0.5, 0.56),
        tpr_at_1_percent_fpr=0.02, tpr_interval=(0.0, 0.05), note="one noise level",
    )  # fmt: skip
    values: dict[str, Any] = {
        "membership": (attack,),
        "missing": (Missing(measure="SSCD", reason="needs a download"),),
        "limits": ("It is no proof.",),
    }
    return report_of(0.1, 0.5, curve=CURVE, **{**values, **changes})


def test_a_whole_audit() -> None:
    html = audit_view(full())
    text = text_of(html)
    for words in (
        "The model gives training pictures back", "distance ratio", "7.0 % to 13 %", "KID",
        "0.530 (0.500 to 0.560)", "one noise level", "SSCD: needs a download", "It is no proof.",
        "held-out pictures",
    ):  # fmt: skip
        assert words in text
    assert "ms-verdict ms-alarm" in html
    assert html.count("data:image/svg+xml") == 1
    assert "0.25 (chance 12 %)" in html


@pytest.mark.parametrize(
    ("report", "tone"),
    [
        (report_of(0.1, 0.5), "ms-alarm"),
        (report_of(0.0, 0.5), "ms-calm"),
        (report_of(None, 0.5), ""),
        (report_of(0.1, 0.5, broken=90), ""),
    ],
)
def test_the_tone_of_the_verdict(report: Report, tone: str) -> None:
    html = audit_view(report)
    text_of(html)
    first = html.split('class="ms-box ms-verdict', 1)[1].split('"', 1)[0]
    assert first.strip() == tone
    assert "Copies" in html and "Quality" in html


def test_nothing_follows_from_the_few_whole_pictures_of_a_broken_model() -> None:
    html = audit_view(report_of(0.0, 0.5, broken=90, curve=CURVE))
    text = text_of(html)
    assert "distance ratio pixels cannot say: the model is broken" in text
    assert "Memorized quantity" not in text and "data:image/svg+xml" not in html


def test_without_a_threshold_the_page_speaks_of_none() -> None:
    assert "A generated picture counts when" in text_of(audit_view(full()))
    assert "pass by chance" not in text_of(audit_view(report_of(None, 0.5)))


def test_side_by_side() -> None:
    beside = {"base": report_of(0.0, 0.9), "plain": report_of(0.4, 0.3)}
    html = audit_view(full(), beside, name="mitigated", budget=0.05)
    text = text_of(html)
    for name in ("Side by side", "mitigated", "base", "plain"):
        assert name in text
    assert html.count("data:image/svg+xml") == 2
    assert "cut alike: do not compare" not in text
    other = {"base": report_of(0.0, 0.9, data=full().data.model_copy(update={"fingerprint": "f"}))}
    assert "cut alike: do not compare" in text_of(audit_view(full(), other))


def test_not_audited() -> None:
    assert "Not audited yet" in text_of(audit_view(None))
    assert "No round was audited" in text_of(rounds_view({}, 0.05))


def test_the_round_that_the_budget_would_choose() -> None:
    reports = {
        number: report_of(excess, kid, target=AuditedModel(name="run", kind="run", round=number))
        for number, excess, kid in ((1, 0.01, 0.9), (2, 0.04, 0.5), (3, 0.3, 0.2))
    }
    text = text_of(rounds_view(reports, 0.05))
    assert "Round 2 would be kept: best KID" in text
    assert "2 would be kept" in text
    surely_over = {number: reports[number] for number in (2, 3)}
    assert "ms-alarm" in rounds_view(surely_over, 0.001)
    without = text_of(rounds_view(reports, None))
    assert "would be kept" not in without
    assert "the last round is kept" in without


def test_rounds_are_read_once_until_they_change(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    audit_round(run, 2, 0.1, 0.5)
    audit_round(run, 10, 0.2, 0.4)
    (run.audit_of(3)).mkdir()
    (run.audit_of(4)).mkdir()
    (run.audit_of(4) / REPORT).write_text("{")
    found = read_rounds(run)
    assert list(found) == [2, 10]
    assert read_rounds(run)[2] is found[2]
    audit_round(run, 2, 0.15, 0.5)
    assert read_rounds(run)[2].headline.excess == 0.15
    assert read_audit(run) is None
    with pytest.raises(UserError, match="not JSON"):
        read_audit(run, 4)


def test_hostile_names_are_shown_as_text() -> None:
    hostile = full(
        target=AuditedModel(name=HOSTILE, kind="run", base=HOSTILE),
        verdict=HOSTILE,
        missing=(Missing(measure=HOSTILE, reason=HOSTILE),),
        limits=(HOSTILE,),
    )
    assert shows_hostile(audit_view(hostile, {HOSTILE: full()}))
    text_of(rounds_view({1: hostile}, 0.05))


def test_the_same_audit_gives_the_same_bytes() -> None:
    beside = {"base": report_of(0.0, 0.9)}
    assert audit_view(full(), beside) == audit_view(full(), beside)


def private(folder: Path, at_risk: int, pairs: int, uri: str | None = URI) -> Path:
    """What an audit tells of single pictures; without them where `uri` is None."""
    folder.mkdir(parents=True, exist_ok=True)
    risk: dict[str, Any] = {
        "group": 1,
        "count": 7,
        "index": 3,
        "copies": 2,
        "draws": 90,
        "skips": 12,
    }
    pair: dict[str, Any] = {
        "generated": 5,
        "training": 3,
        "ratio": 0.1,
        "beyond": True,
        "mirrored": True,
    }
    if uri is not None:
        risk |= {"picture": uri}
        pair |= {"generated_picture": uri, "training_picture": uri}
    told = {"version": 1, "at_risk": [risk] * at_risk, "pairs": [pair] * pairs}
    (folder / PRIVATE).write_text(json.dumps(told))
    return folder


def test_pictures_at_risk(tmp_path: Path) -> None:
    html = at_risk_view(private(tmp_path, 1, 2))
    text = text_of(html)
    assert "picture 3: 7 times, 2 copies in the set; drawn 90, skipped 12" in text
    assert "given back" in text
    assert "mirrored" in text
    assert html.count(URI) == 5
    assert "private.html" not in text
    assert "And 8 more" in text_of(at_risk_view(private(tmp_path / "more", 20, 2)))


@pytest.mark.parametrize("uri", [None, f"http://x/{URI}", "javascript:1"])
def test_an_audit_without_pictures_of_its_own_is_told_in_words(
    tmp_path: Path, uri: str | None
) -> None:
    html = at_risk_view(private(tmp_path, 1, 2, uri))
    assert "<img" not in html
    text = text_of(html)
    assert "picture 3: 7 times" in text
    assert "kept no pictures. Audit again" in text


def test_nothing_private_is_told_where_it_cannot_be_read(tmp_path: Path) -> None:
    for text in ("", "[]", "{", '{"at_risk": [1], "pairs": []}'):
        (tmp_path / PRIVATE).write_text(text)
        assert "at risk are not known" in text_of(at_risk_view(tmp_path))
    assert "at risk are not known" in text_of(at_risk_view(tmp_path / "missing"))


def test_an_audit_before_another_is_dated() -> None:
    shown = earlier_view(audit_view(report_of(0.0, 0.5)), "2026-01-02T03:04:05Z")
    assert "The audit before, of 2026-01-02, 03:04 UTC:" in text_of(shown)
    assert '<section class="ms" role="group" aria-label="Audit">' in shown, "it is not escaped"
