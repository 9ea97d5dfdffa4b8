from __future__ import annotations

import json
import math
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from memshield.audit import plots
from memshield.audit.plots import curve_plot, point_of, trade_off_plot
from memshield.audit.report import Attack, AuditedModel, Missing, Report
from memshield.audit.report_page import environment, page_of, write_comparison, write_page
from memshield.audit.report_view import ModelRow, ModelTable, View
from memshield.audit.verdict import limits_of
from memshield.audit.watch_findings import sentences
from memshield.audit.watch_record import WatchRecord
from memshield.errors import UserError
from memshield.hub.manifest import Manifest
from tests.audit.reports import report_of
from tests.hub.claims import manifest_of
from tests.watches import made_watch


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    report = report_of(excess=0.03, kid=0.2, curve={0.5: (0.5, 0.25)})
    report.write(tmp_path / "audit" / "report.json")
    assert Report.read(tmp_path / "audit" / "report.json") == report


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "version 2"),
        ({"seconds": -1}, "seconds"),
        ({"extra": 1}, "extra"),
        ({"memorization": [{"statistic": 1}]}, "memorization.0"),
    ],
)
def test_what_is_no_valid_report_is_refused(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    path = tmp_path / "report.json"
    report_of(excess=0.03, kid=0.2).write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=said):
        Report.read(path)


def test_what_is_no_json_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        Report.read(tmp_path / "report.json")
    with pytest.raises(UserError, match="cannot read"):
        Report.read(tmp_path / "no.json")


@pytest.mark.parametrize(
    ("report", "begins"),
    [
        (report_of(excess=0.5, kid=0.1), "The model gives training pictures back: 51 %"),
        (report_of(excess=0.0, kid=0.1), "No sign beyond chance"),
        (report_of(excess=None, kid=0.1), "This audit cannot say how much"),
        (report_of(excess=0.5, kid=0.1, broken=51), "The model is broken: 51 of 100"),
    ],
)
def test_the_verdict_is_one_sentence_that_says_which_it_is(report: Report, begins: str) -> None:
    assert report.verdict.startswith(begins)
    assert "None" not in report.verdict


def test_names_from_outside_cannot_write_html(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    report = report_of(
        excess=0.1,
        kid=0.1,
        curve={0.5: (0.5, 0.2)},
        target=AuditedModel(name=evil, kind="run"),
        missing=(Missing(measure=evil, reason=evil),),
    )
    beside = report_of(excess=0.2, kid=0.1, target=AuditedModel(name=evil + "2", kind="run"))
    write_page(report, tmp_path / "report.html", [beside])
    assert "<script" not in (tmp_path / "report.html").read_text()


def test_models_of_one_name_keep_their_own_curves() -> None:
    """`plain/out` beside `mitigated/out`: both are called by their folder."""
    report, beside = (
        report_of(
            excess=excess, kid=0.1, curve={0.5: (excess, 0.01)},
            target=AuditedModel(name="out", kind="run"),
        )
        for excess in (0.0, 0.2)
    )  # fmt: skip
    text = page_of(report, [beside])
    assert "<tr><td>out (2)</td>" in text, "in the table"
    assert text.count(">out (2)</text>") == 1, "at its own curve"


def test_models_beside_are_in_the_table_and_the_plot(tmp_path: Path) -> None:
    report = report_of(excess=0.01, kid=0.1)
    beside = report_of(excess=0.2, kid=0.05, target=AuditedModel(name="plain", kind="run"))
    write_page(report, tmp_path / "report.html", [beside])
    page = (tmp_path / "report.html").read_text()
    assert "<td>plain</td>" in page
    assert page.count("<svg") == 1  # of these two, none has a curve


def test_a_broken_model_and_one_without_a_figure_are_told_apart_on_the_page(tmp_path: Path) -> None:
    names = ("whole", "broken one", "unknown")
    reports = [
        report_of(excess, 0.1, broken=broken, target=AuditedModel(name=name, kind="run"))
        for name, excess, broken in zip(names, (0.1, 0.5, None), (0, 51, 0), strict=True)
    ]
    rows = [ModelRow.of(report, report.target.name) for report in reports]
    assert [(row.unknown, row.excess) for row in rows] == [
        ("", 0.1), ("broken", None), ("cannot say", None),
    ]  # fmt: skip
    table = ModelTable.of(((one.target.name, one) for one in reports), View.REPORT, reports[0])
    assert [cells[0] for _, cells in table.rows] == ["11 %", "broken", "cannot say"]
    assert rows[1].quality == 0.1, "a measure of its whole pictures"
    write_page(reports[0], tmp_path / "report.html", reports[1:])
    page = (tmp_path / "report.html").read_text()
    for name, words in zip(names, ("11 %", "broken", "cannot say"), strict=True):
        assert f'<td>{name}</td><td class="number">{words}</td>' in page


@pytest.mark.parametrize(
    ("view", "columns"),
    [
        (View.REPORT, {"given back": "11 %", "beyond chance, 95 %": "7.0 % to 13 %", "KID": "0.5"}),
        (
            View.PAGE,
            {
                "given back": "11 %",
                "beyond chance, 95 %": "10 % (7.0 % to 13 %)",
                "membership inference (AUC)": "0.53 (0.50 to 0.56)",
                "KID, lower is better": "0.5 (0.49 to 0.51)",
            },
        ),
        (
            View.ROUNDS,
            {
                "given back": "11 %",
                "beyond chance": "10 %",
                "95 %": "7.0 % to 13 %",
                "KID, lower is better": "0.5 (0.49 to 0.51)",
            },
        ),
        (
            View.CARD,
            {
                "given back": "11 %",
                "by chance": "1.0 %",
                "beyond chance": "10 %",
                "95 %": "7.0 % to 13 %",
                "membership inference (AUC)": "0.53 (0.50 to 0.56)",
                "KID, lower is better": "0.5 (0.49 to 0.51)",
            },
        ),
        (View.LINE, {"beyond chance": "      10 %", "KID": "0.5"}),
    ],
)
def test_the_columns_of_every_view(view: View, columns: dict[str, str]) -> None:
    attack = Attack(
        attack="loss", members=9, held_out=9, auc=0.53, auc_interval=(0.5, 0.56),
        tpr_at_1_percent_fpr=0.02, tpr_interval=(0.0, 0.05),
    )  # fmt: skip
    report = report_of(0.1, 0.5, membership=(attack,))
    table = ModelTable.of([("it", report)], view, report)
    ((name, cells),) = table.rows
    assert name == "it"
    assert dict(zip(table.headings, cells, strict=True)) == columns
    explained = any("AUC" in heading for heading in columns)
    counts = ("Of two measures in pixels, the one counts that finds more.",)
    assert table.explanations == (
        *(counts if "given back" in columns else ()),
        *(("An AUC of 0.5 is guessing.",) if explained else ()),
    )


def test_a_card_keeps_the_columns_of_what_was_not_measured() -> None:
    report = report_of(None, 0.1, quality=())
    headings = {view: ModelTable.of((), view, report).headings for view in View}
    assert headings[View.CARD][-2:] == ("membership inference (AUC)", "quality")
    assert headings[View.PAGE] == ("given back", "beyond chance, 95 %")


def test_models_are_compared_where_the_first_has_no_quality(tmp_path: Path) -> None:
    broken = report_of(None, 0.1, broken=100, quality=())
    write_comparison([broken, report_of(0.1, 0.5)], tmp_path / "compare.html", None, 1, "best")
    page = (tmp_path / "compare.html").read_text()
    assert '<th class="number">KID</th>' in page
    assert "lower is better quality" in page


def test_a_report_without_a_watch_is_the_file_that_it_was(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report = report_of(excess=0.03, kid=0.2)
    report.write(path)
    assert "watch" not in json.loads(path.read_text())
    assert Report.read(path) == report
    assert report.watch is None
    write_page(report, tmp_path / "report.html")
    assert "Held-out loss" not in (tmp_path / "report.html").read_text()


def test_without_a_threshold_the_page_speaks_of_none(tmp_path: Path) -> None:
    for excess in (0.1, None):
        report = report_of(excess=excess, kid=0.1)
        write_page(report, tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text()
        assert ("of fresh real pictures pass by chance" in page) == (excess is not None)


def test_nothing_on_the_page_follows_from_the_whole_pictures_of_a_broken_model() -> None:
    text = page_of(report_of(excess=0.0, kid=0.1, broken=90, curve={0.5: (0.5, 0.2)}))
    assert "cannot say: the model is broken" in text
    assert "Memorized quantity" not in text


def test_long_names_and_dollars_leave_a_plot_its_room() -> None:
    long, odd = f"{'my very long title ' * 4}, v2", "costs $x_{ or $y"
    curve = report_of(0.1, 0.1, curve={0.2: (0.1, 0.1), 0.5: (0.5, 0.2)}).headline.curve
    text = curve_plot({long: curve, odd: curve})
    assert long not in text and ">my very long… title , v2</text>" in text
    assert f">{odd}</text>" in text
    points = [
        point._replace(label=long, group=odd)
        for one in (report_of(0.1, 0.1), report_of(0.2, 0.1))
        if (point := point_of(one)) is not None
    ]
    text = trade_off_plot(points, "given back", "KID")
    assert text.count(">my very long… title , v2</text>") == 2


def test_one_of_a_kind_is_singular() -> None:
    page = environment().get_template("private.html.jinja")
    risk = {"index": 3, "picture": "", "count": 1, "copies": 1, "draws": 1, "skips": 0}
    said = page.render(title="x", at_risk=[risk, {**risk, "count": 7}], pairs=[])
    assert "given back 1 time, drawn 1 time, skipped 0" in said and "given back 7 times" in said
    report = report_of(excess=0.0, kid=0.1)
    data = report.data.model_copy(update={"duplicate_groups": 1})
    assert "1 group of duplicates" in page_of(report.model_copy(update={"data": data}))


@pytest.mark.parametrize(("broken", "least"), [(0, "3.0 %"), (96, "75 %"), (97, None), (100, None)])
def test_how_rare_a_copy_may_be_follows_from_the_whole_pictures(
    broken: int, least: str | None
) -> None:
    report = report_of(excess=0.1, kid=0.1, broken=broken)
    told = [one for one in limits_of(report.generated, report.data) if "missed altogether" in one]
    assert len(told) == (least is not None)
    assert least is None or f"fewer than {least} of" in told[0]


def test_random_crops_of_oblong_pictures_are_a_limit(tmp_path: Path) -> None:
    plain = report_of(excess=0.03, kid=0.2)
    plain.write(tmp_path / "plain.json")
    written = json.loads((tmp_path / "plain.json").read_text())["data"]
    assert not {"random_crops", "compared_crops"} & written.keys()
    data = plain.data.model_copy(update={"random_crops": 7, "compared_crops": 40})
    limits = limits_of(plain.generated, data)
    assert any("7 training pictures are not square, and were or may have been" in one
               for one in limits)  # fmt: skip
    # A model beside it that saw middles alone is compared in the same way, and says so.
    beside = limits_of(plain.generated, data.model_copy(update={"random_crops": 0}))
    assert any("for a model that this one is compared with" in one for one in beside)
    bucketed = data.model_copy(update={"buckets": ((1024, 1024), (832, 1248))})
    assert not any("from their middle" in one for one in limits_of(plain.generated, bucketed))
    report = plain.model_copy(update={"data": data, "limits": limits})
    report.write(tmp_path / "report.json")
    assert Report.read(tmp_path / "report.json") == report


def test_pictures_in_buckets_are_compared_at_a_common_size_and_the_report_says_so(
    tmp_path: Path,
) -> None:
    plain = report_of(excess=0.03, kid=0.2)
    plain.write(tmp_path / "plain.json")
    assert "buckets" not in json.loads((tmp_path / "plain.json").read_text())["data"]
    assert not any("common" in limit for limit in limits_of(plain.generated, plain.data))
    data = plain.data.model_copy(update={"buckets": ((1024, 1024), (832, 1248))})
    limits = limits_of(plain.generated, data)
    report = plain.model_copy(update={"data": data, "limits": limits})
    report.write(tmp_path / "report.json")
    assert Report.read(tmp_path / "report.json") == report
    write_page(report, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "learned in 2 sizes, near their own shapes, and are compared at a common one" in page
    assert "1024,1024; 832,1248" in page
    text = json.loads((tmp_path / "report.json").read_text())
    text["data"]["buckets"] = [[8, 8]] * 300
    (tmp_path / "report.json").write_text(json.dumps(text))
    with pytest.raises(UserError):
        Report.read(tmp_path / "report.json")


@pytest.mark.parametrize("stops", [True, False])
def test_a_watch_is_in_the_report_and_on_its_page(tmp_path: Path, stops: bool) -> None:
    record = made_watch(stops)
    path = tmp_path / "report.json"
    report_of(excess=0.03, kid=0.2, watch=record).write(path)
    report = Report.read(path)
    assert report.watch == record
    write_page(report, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Held-out loss by noise level</h2>" in page
    for sentence in sentences(record):
        assert f"<p>{sentence}</p>" in page
    assert page.count("<svg") == 1
    assert "noise 0.34 to 0.72</text>" in page
    assert len(re.findall(r"<td>stopped at \d", page)) == (5 if stops else 0)
    write_page(report, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == page


def test_levels_of_noise_alone_are_read_back(tmp_path: Path) -> None:
    """A schedule with zero terminal signal ends in an infinite ratio, which JSON has not."""
    bounds = (*made_watch().bounds[:-1], math.inf)
    record = made_watch().model_copy(update={"bounds": bounds})
    report = report_of(excess=0.03, kid=0.2, watch=record)
    report.write(tmp_path / "report.json")
    assert Report.read(tmp_path / "report.json") == report
    record.write(tmp_path / "watch.json")
    assert WatchRecord.read(tmp_path / "watch.json") == record
    manifest = manifest_of(audit=report)
    assert Manifest.model_validate_json(manifest.text_of_file()) == manifest
    # Versions before read this, and not what they wrote in its place.
    text = (tmp_path / "report.json").read_text()
    assert all('"Infinity"' in one for one in (text, manifest.text_of_file()))
    (tmp_path / "report.json").write_text(text.replace('"Infinity"', "null"))
    assert Report.read(tmp_path / "report.json") == report
    for wrong in ("x", 3, [None], {"a": 1}, [None, 1.0]):
        with pytest.raises(ValueError):
            WatchRecord.model_validate({**record.model_dump(), "bounds": wrong})


def test_a_watch_of_a_single_check_has_no_plot(tmp_path: Path) -> None:
    write_page(report_of(excess=0.03, kid=0.2, watch=made_watch().until(0)), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "looked at once so far" in page
    assert "<svg" not in page


def test_a_watch_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report_of(excess=0.03, kid=0.2, watch=made_watch()).write(path)
    values = json.loads(path.read_text())
    values["watch"]["stopped"] = [1]
    path.write_text(json.dumps(values))
    with pytest.raises(UserError, match="watch"):
        Report.read(path)


def test_a_figure_that_another_thread_draws_meanwhile_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    curves = {"model": report_of(excess=0.03, kid=0.2, curve={0.5: (0.5, 0.25)}).headline.curve}
    alone, svg_of = plots.curve_plot(curves), plots.svg_of
    at_its_end, over, found = threading.Event(), threading.Event(), list[str]()

    def late(figure: Any) -> str:
        at_its_end.set()
        assert over.wait(30)
        return svg_of(figure)

    monkeypatch.setattr(plots, "svg_of", late)
    other = threading.Thread(target=lambda: found.append(plots.curve_plot(curves)))
    with plots._figure(1, 1):
        other.start()
        at_its_end.wait(1)  # does not come, while this figure is drawn
    over.set()
    other.join(30)
    assert found == [alone]
