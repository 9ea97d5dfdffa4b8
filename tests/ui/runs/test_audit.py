"""What the page answers about audits, without a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from memshield.audit.report import REPORT
from memshield.jobs.records import LOCAL, Job
from memshield.jobs.service import Jobs
from memshield.jobs.titles import plain_title
from memshield.rundir import RunDir
from memshield.ui.runs.audit import AuditPanel, _show_promoted
from memshield.ui.server.deployment import Deployment
from memshield.ui.server.server import Server
from memshield.ui.server.visitor import Visitors
from tests.audit.reports import report_of
from tests.jobs.children import DEMO, DONE, Scripted, ended, task_of, until
from tests.ui.runs.test_audit_data import audited, with_rounds
from tests.ui.test_tabs import MACHINE

pytestmark = pytest.mark.process

ODD: list[Any] = [None, "", "../x", "a lot", "-1", 5, 1e308, True, [], ["x"], {"a": 1}, "9" * 5000,
                  "\ud800", "a\0b"]  # fmt: skip


@pytest.fixture
def part(jobs: Jobs, tmp_path: Path) -> AuditPanel:
    server = Server(Deployment(False, tmp_path / "data", None), jobs, Visitors(False), MACHINE)
    with gr.Blocks():
        return AuditPanel(server, gr.Textbox())


def done(jobs: Jobs, name: str = "digits", **changes: Any) -> tuple[Job, RunDir]:
    """A job that is done, with rounds of which the last is the model."""
    job = jobs.submit(LOCAL, {**DEMO, **changes}, name)
    until(lambda: ended(jobs, job), jobs=jobs)
    run = jobs.folders.run(job)
    with_rounds(run, 0.01, 0.3)
    jobs.promote(LOCAL, job.id, 2)
    return job, run


def shown(part: AuditPanel, jobs: Jobs, job: Job, *inputs: Any) -> list[Any]:
    return part.update(LOCAL, jobs.view(LOCAL, job.id), list(inputs))


def sent(answer: list[Any]) -> list[Any]:
    """The outputs that the browser is told of."""
    return [one for one in answer if one != gr.skip()]


def test_nothing_is_sent_while_nothing_changes(part: AuditPanel, jobs: Jobs) -> None:
    job, run = done(jobs)
    first = shown(part, jobs, job, "model", "0.02", [], (), "")
    offered, seen = first[-2:]
    again: tuple[Any, ...] = ("model", "0.02", [], offered, seen)
    assert len(first) == len(part.outputs)
    assert sent(shown(part, jobs, job, *again)) == []
    (run.audit_of(1) / "images.npy").write_bytes(b"pictures of an audit that goes on")
    assert sent(shown(part, jobs, job, *again)) == []
    # What is typed is answered, and so is an audit that ends.
    typed = shown(part, jobs, job, "model", "0.5", [], offered, seen)
    assert "Round 2 would be kept" in "".join(map(str, typed))
    audited(run, 1, 0.02)
    assert sent(shown(part, jobs, job, *again)) != []
    assert sent(part.blank("nothing", ["model", "", [], (), ""])) != []
    assert sent(part.blank("nothing", ["model", "", [], (), "nothing"])) == []


def test_no_input_is_reset_by_the_clock(part: AuditPanel, jobs: Jobs) -> None:
    job, run = done(jobs)
    first = shown(part, jobs, job, "1", "0.02", [], (), "")
    for answer in (first, shown(part, jobs, job, "1", "0.0", [], first[-2], first[-1])):
        for name in ("_what", "_budget", "_number", "_pictures", "_base"):
            one = getattr(part, name)
            if one in part.outputs:
                update = answer[part.outputs.index(one)]
                assert "value" not in update.constructor_args, name
    # Of what stands beside it only what is new is added.
    twin, twins = done(jobs, "twin")
    audited(twins)
    audited(run)
    beside = part.outputs.index(part._beside)
    second = shown(part, jobs, job, "1", "0.02", [], first[-2], first[-1])
    assert second[beside].constructor_args["value"] == [twin.id]
    assert sent(shown(part, jobs, job, "1", "0.02", [twin.id], second[-2], second[-1])) == []
    # Taken away at once, before the page has looked with what was put there.
    taken_away = shown(part, jobs, job, "1", "0.02", [], second[-2], second[-1])
    assert taken_away[beside] == gr.skip()
    assert "Side by side" not in "".join(map(str, taken_away))


def test_anything_at_all_is_answered_in_words(part: AuditPanel, jobs: Jobs) -> None:
    job, _ = done(jobs)
    for one in ODD:
        shown(part, jobs, job, one, one, one, (), "")
        if one not in (None, ""):
            assert "Pictures to generate" in part._on_start(
                job.id, "model", one, None, "here", None, None
            )
            assert "Model or round" in part._on_start(job.id, one, "", None, "here", None, None)
            assert "ms-alarm" in part._on_promote(job.id, one, "0.02", None)[1]
            assert "ms-alarm" in part._on_promote(job.id, "budget", one, None)[1]
        assert "there is no job" in part._on_start(one, "model", "", None, "here", None, None)
        assert "there is no job" in part._on_promote(one, "1", "", None)[1]
        assert "there is no job" in part._on_plain(one, None)
        part._on_change(one, "", None)
    assert task_of(jobs, job).work.kind == "train"


def test_the_inputs_of_another_run_are_its_own(part: AuditPanel, jobs: Jobs) -> None:
    job, _ = done(jobs, memorization_budget=0.05)
    other, _ = done(jobs)
    assert sent(part._on_change(job.id, "", None)) == ["0.05", job.id], "what is typed stays"
    assert part._on_change(other.id, job.id, None) == ["model", "", False, "", "budget", "", "",
                                                       "", other.id]  # fmt: skip
    assert sent(part._on_change(job.id, job.id, None)) == []
    assert sent(part._on_change(None, job.id, None)) == []


def test_an_audit_is_asked_for(part: AuditPanel, jobs: Jobs) -> None:
    job, _ = done(jobs)
    twin, twins = done(jobs, "twin")
    audited(twins)
    for what, pictures, beside, words in (
        ("model", "", [], []),
        ("2", "40", [twin.id], ["--round", "2", "--num_images", "40", "--beside", str(twins.path)]),
        ("all", "40", [twin.id], ["--num_images", "40"]),
    ):
        assert part._on_start(job.id, what, pictures, False, "here", beside, None) == ""
        assert list(task_of(jobs, job).work.command[4:]) == words
        until(lambda: ended(jobs, job), jobs=jobs)
    assert "has no base" in part._on_start(job.id, "model", "", True, "here", [], None)


def test_a_round_is_made_the_model(part: AuditPanel, jobs: Jobs) -> None:
    job, run = done(jobs)
    answer = part._on_promote(job.id, "budget", "0.05", None)
    of, said, what = answer
    assert "Round 1 is the model now: best KID" in said
    assert (of, what) == (job.id, "model")
    # It is said below its own run only.
    assert _show_promoted(job.id, answer) == (said, "model")
    assert list(_show_promoted("another", answer)) == [gr.skip()] * 2
    assert run.read_status()["reason"].startswith("round 1 is kept: best KID")
    assert "Round 1 is the model already" in part._on_promote(job.id, "1", "", None)[1]
    audited(run, 1, 0.2)  # what it gives back by now is more than chance explains
    refused = part._on_promote(job.id, "budget", "0.001", None)
    said, what = _show_promoted(job.id, refused)
    assert "none is within the budget" in said
    assert what == gr.skip()
    assert "chosen by hand, gives back 30" in part._on_promote(job.id, "2", "0.001", None)[1]
    jobs.audit(LOCAL, job.id)
    assert "it is waiting already" in part._on_promote(job.id, "1", "", None)[1]
    start = part.outputs.index(part._start)
    assert not shown(part, jobs, job, "model", "", [], (), "")[start].constructor_args[
        "interactive"
    ]


def test_a_plain_twin_is_asked_for_until_it_stands_beside(part: AuditPanel, jobs: Jobs) -> None:
    job, run = done(jobs)
    offer = part.outputs.index(part._plain)
    assert shown(part, jobs, job, "model", "", [], (), "")[offer].constructor_args["visible"]
    # As the list of runs calls it.
    assert f"{plain_title(job.title)} has been queued" in part._on_plain(job.id, None)
    assert f"is there already: {plain_title(job.title)}" in part._on_plain(job.id, None)
    twin = jobs.list(LOCAL)[0]
    until(lambda: ended(jobs, twin), jobs=jobs)
    audited(jobs.folders.run(twin), mitigation={"num_shards": 1, "skip_threshold": 0.0})
    audited(run)
    assert not shown(part, jobs, job, "model", "", [], (), "")[offer].constructor_args["visible"]
    assert not shown(part, jobs, twin, "model", "", [], (), "")[offer].constructor_args["visible"]


def test_why_an_audit_failed_is_said(part: AuditPanel, jobs: Jobs) -> None:
    jobs._commands = Scripted(DONE, "import sys; sys.exit('dataset: <b>gone</b>')")
    job, _ = done(jobs)
    part._on_start(job.id, "model", "", False, "here", [], None)
    until(lambda: ended(jobs, job), jobs=jobs)
    text = "".join(map(str, shown(part, jobs, job, "model", "", [], (), "")))
    assert "The audit ended with an error" in text
    assert "dataset: &lt;b&gt;gone&lt;/b&gt;" in text


def test_another_owners_runs_are_none(jobs: Jobs, part: AuditPanel) -> None:
    job, run = done(jobs)
    bobs = jobs.submit("bob", DEMO)
    folder = jobs.folders.run(bobs)
    folder.path.mkdir()
    report_of(0.4, 0.5).write(folder.audit_of(None) / REPORT)
    audited(run)
    answer = shown(part, jobs, job, "model", "", [bobs.id], (), "")
    assert answer[-2] == (job.id,)
    assert "there is no job" in part._on_start(job.id, "model", "", False, "here", [bobs.id], None)
    for refused in (part._on_plain(bobs.id, None), part._on_promote(bobs.id, "1", "", None)[1]):
        assert "there is no job" in refused
