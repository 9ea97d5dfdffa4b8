"""The held-out loss by noise level on the page."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from memshield.audit.watch_findings import findings, sentences
from memshield.runs.progress import fingerprint, read_progress
from memshield.runs.state import RunProgress
from memshield.ui.runs.charts import charts_view
from memshield.ui.runs.levels import MOST_BANDS, levels_chart
from tests.ui.made_runs import made_run
from tests.ui.markup import text_of
from tests.watches import BOUNDS, made_watch, watch_of_losses


def test_a_row_a_band_with_its_stop_and_the_same_sentences(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    record = made_watch()
    record.write(run.watch)
    html = charts_view(read_progress(run))
    text = text_of(html).replace("\u00a0", " ")
    assert "Held-out loss by noise level" in text
    assert "5 of 10 bands stopped" in text
    for sentence in sentences(record):
        assert sentence in text
    assert "Memorization would have begun at noise 0.01 to 3.4 of the signal" in text
    assert len(re.findall(r"stopped at \d", text)) == 5
    assert html.count("still learns") == 5
    assert "0.34 to 0.72" in text


def test_places_are_those_of_the_findings() -> None:
    record = made_watch()
    html = levels_chart(record, 1280)
    circles = [float(place) for place in re.findall(r'<circle cx="([\d.]+)%" cy="80.0%"', html)]
    stops = [float(place) for place in re.findall(r'<line x1="([\d.]+)%" x2="\1%" y1="0"', html)]
    found = findings(record)
    assert circles == [round(100 * band.lowest_step / 1280, 2) for band in found]
    assert stops[:-1] == [  # the last is the legend's
        round(100 * band.stopped / 1280, 2) for band in found if band.stopped is not None
    ]
    assert stops[-1] == 50


def test_bands_that_are_only_watched_have_no_stops() -> None:
    text = text_of(levels_chart(made_watch(stops=False), 660))
    assert "5 of 10 bands risen" in text
    assert "Memorization begins at noise 0.01 to 3.4" in text
    assert "stopped" not in text


def test_nothing_is_drawn_of_nothing() -> None:
    assert levels_chart(None, 10) == ""
    assert levels_chart(made_watch().until(-1), 10) == ""
    assert "No figures yet" in text_of(charts_view(RunProgress()))


def test_a_single_check_is_a_mark() -> None:
    html = charts_view(replace(RunProgress(), watch=made_watch().until(0)))
    assert "looked at once so far" in text_of(html)
    assert "<path" not in html


def test_strange_losses_can_be_drawn() -> None:
    for losses in ([[0.0], [0.0], [1.0]], [[-1.0], [1e300], [1e-300]], [[1.0], [1.0]]):
        html = levels_chart(watch_of_losses(losses), 30)
        text_of(html)
        assert "nan" not in html
        assert "inf" not in html


def test_many_bands_and_checks_stay_small() -> None:
    bounds = tuple(BOUNDS[0] * 1.1**i for i in range(101))
    rows = [[1.0 / (place + 1)] * 100 for place in range(1000)]
    record = watch_of_losses([[1.0]] * 2).model_copy(update={"bounds": bounds, "stopped": ()})
    checks = tuple(
        record.checks[0].model_copy(update={"step": place, "losses": tuple(row)})
        for place, row in enumerate(rows)
    )
    html = levels_chart(record.model_copy(update={"checks": checks}), 1000)
    assert html.count("<circle") == MOST_BANDS + 1
    assert "12 of 100 bands are drawn" in text_of(html)
    assert len(html) < 100_000


def test_a_new_check_is_noticed_and_a_strange_file_is_no_chart(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    marks = [fingerprint(run)]
    for step in (0, 20):
        made_watch().until(step).write(run.watch)
        marks.append(fingerprint(run))
        watch = read_progress(run).watch
        assert watch is not None
        assert watch.checks[-1].step == step
    assert len(set(marks)) == 3
    for text in ("{", '{"version": 2}', "[]"):
        run.watch.write_text(text)
        assert read_progress(run).watch is None
    run.watch.unlink()
    assert read_progress(run).watch is None


@pytest.mark.process
def test_the_views_import_no_torch() -> None:
    code = (
        "import sys, memshield.ui.runs.charts, memshield.audit.report_page; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
