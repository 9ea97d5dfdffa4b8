"""Runs as rows, and their titles."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from memshield.audit.report import REPORT
from memshield.jobs.records import LOCAL
from memshield.jobs.service import Jobs
from memshield.rundir import this_process, write_text
from memshield.runs.publication import path_of
from memshield.ui.runs.rows import RunRows, rows_view
from memshield.ui.runs.run_list import RunList
from memshield.ui.widgets.words import age
from tests.audit.reports import report_of
from tests.jobs.children import DEMO
from tests.ui.made_runs import HOSTILE
from tests.ui.markup import text_of
from tests.ui.runs.test_audit import done
from tests.ui.runs.test_tab import server_of


@pytest.mark.process
def test_a_row_tells_what_a_run_is(jobs: Jobs) -> None:
    job, run = done(jobs)
    jobs.titles.change(LOCAL, job.id, HOSTILE[:80])
    known = RunRows(jobs)
    (row,) = known.of(LOCAL)
    assert (row.state, row.mark, row.picture, row.settled) == ("Done", "done", None, True)
    shown = rows_view([row], row.id)
    assert "<script" not in shown and 'aria-current="true"' in shown
    assert "just now" in text_of(shown) or "ago" in text_of(shown)
    # Its newest samples, and nothing of its training pictures.
    run.samples.mkdir(exist_ok=True)
    Image.new("RGB", (32, 32), "red").save(run.samples / "round-0001.png")
    assert known.of(LOCAL) == (row,)  # read a moment ago
    (row,) = known.of(LOCAL, anew=True)
    assert row.picture is not None
    assert "data:image/webp" in rows_view([row], None)
    assert known.of("bob", anew=True) == ()


def listed(jobs: Jobs, sign_in: bool = False) -> tuple[RunList, dict[str, Any]]:
    with gr.Blocks() as page:
        made = RunList(server_of(jobs, sign_in))
        made.lay_out_renaming(gr.Button())
    return made, {one.name: one.fn for one in page.fns.values()}


@pytest.mark.process
def test_the_quality_in_a_row_is_held_against_that_of_the_base(jobs: Jobs) -> None:
    _, run = done(jobs)
    base = run.path / "audit" / "base" / REPORT
    report_of(0.0, 2.0).write(run.audit_of(None) / REPORT)
    for report, words in (
        (report_of(0.0, 1.0), "no better than before"),
        (report_of(0.0, 1.0, data=report_of(0.0, 1.0).data.model_copy(update={"fingerprint": "f"})),
         "rough quality"),
    ):  # fmt: skip
        report.write(base)
        (row,) = RunRows(jobs).of(LOCAL)
        assert words in [short for short, _ in row.verdict]


@pytest.mark.process
def test_a_row_says_that_another_model_is_on_the_hub(jobs: Jobs) -> None:
    _, run = done(jobs)
    for state, words in (("done", "Published"), ("outdated", "Published, but not this model")):
        record: dict[str, Any] = {
            "state": "done",
            "repo_id": "ada/digits",
            "process": this_process(0),
        }
        record["outdated"] = state == "outdated"
        write_text(path_of(run), json.dumps(record))
        (row,) = RunRows(jobs).of(LOCAL)
        assert (row.state, row.mark) == (words, "done" if state == "done" else "stopped")


@pytest.mark.process
def test_a_row_stays_published_where_a_later_attempt_fails(jobs: Jobs) -> None:
    job, run = done(jobs)
    record = {
        "state": "failed", "step": "checking", "repo_id": "ada/digits", "reason": "no answer",
        "process": this_process(0), "published": {"ada/digits": {"outdated": False}},
    }  # fmt: skip
    write_text(path_of(run), json.dumps(record))
    (row,) = RunRows(jobs).of(LOCAL)
    assert (row.state, row.mark) == ("Published", "done")
    assert jobs.view_of(job).publishing.words == "Published before; not updated"
    record["published"] = {"ada/digits": {"outdated": True}}
    write_text(path_of(run), json.dumps(record))
    (row,) = RunRows(jobs).of(LOCAL)
    assert row.state == "Published, but not this model"


def test_a_title_is_changed_and_refused_in_words(jobs: Jobs) -> None:
    job = jobs.submit(LOCAL, DEMO)
    made, handlers = listed(jobs)
    assert handlers["on_open"](job.id, None)[1] == "new model on handwritten digits"
    assert handlers["on_save"](job.id, "Mine", None)[1] == ""
    assert [row.title for row in made.known.of(LOCAL, anew=True)] == ["Mine"]
    assert "is empty" in text_of(handlers["on_save"](job.id, " ", None)[1])
    for odd in (None, 3, {"a": 1}, ["x"]):
        assert "there is no job" in text_of(handlers["on_save"](odd, "Mine", None)[1])


def test_a_run_of_somebody_else_is_neither_listed_nor_renamed(jobs: Jobs) -> None:
    job = jobs.submit("ada", DEMO)
    made, handlers = listed(jobs)
    assert found(made, job.id) == ""
    for handler, more in (("on_open", ()), ("on_save", ("Bob's",))):
        assert "there is no job" in text_of(handlers[handler](job.id, *more, None)[-1])
    _, signed_out = listed(jobs, sign_in=True)
    assert "Sign in" in text_of(signed_out["on_save"](job.id, "Bob's", None)[-1])
    assert jobs.get("ada", job.id).title == "new model on handwritten digits"


def found(made: RunList, wanted: object, chosen: object = "") -> str:
    before, run, word = json.loads(made.load(wanted, chosen, None))
    assert (before, len(word)) == (chosen, 8)
    return str(run)


def test_the_newest_run_is_chosen_where_the_wanted_one_is_not_listed(jobs: Jobs) -> None:
    first, second = (jobs.submit(LOCAL, DEMO) for _ in range(2))
    made, _ = listed(jobs)
    assert found(made, "") == second.id
    assert found(made, first.id, second.id) == first.id
    assert found(made, {"odd": 1}) == second.id


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "just now"), (61, "1 minute ago"), (7300, "2 hours ago"), (200_000, "2 days ago")],
)
def test_an_age_in_whole_units(seconds: float, words: str) -> None:
    assert age(seconds) == words
