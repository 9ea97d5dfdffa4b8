"""What the Runs tab says above its tabs, and of publishing, without a browser."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from memshield.jobs.records import LOCAL, Job
from memshield.jobs.service import Jobs
from memshield.rundir import this_process
from memshield.runs.publication import path_of
from memshield.ui.runs.tab import _shown, runs_tab
from memshield.ui.server.deployment import Deployment
from memshield.ui.server.server import Server
from memshield.ui.server.visitor import Visitors
from tests.jobs.children import DEMO, STOPS, ended, open_jobs, ready, until, view
from tests.ui.markup import text_of
from tests.ui.runs.test_audit import done
from tests.ui.test_tabs import MACHINE

HEAD, WAYS, PUBLICATION = 0, 8, -3  # of what `_shown` makes
REFUSES = STOPS.replace(
    'status.set("running", total_steps=10)',
    """
if attempt > 1:
    status.set("stopped", "SIGTERM received", refused=True)
    sys.exit("output_dir: these settings differ and may not: <b>learning_rate</b>")
status.set("running", total_steps=10)
""",
)
"""Stops when it is asked to, and refuses to go on as a training does: the state of before stays."""


def server_of(jobs: Jobs, sign_in: bool = False) -> Server:
    return Server(Deployment(False, jobs.folders.root, None), jobs, Visitors(sign_in), MACHINE)


def seen(jobs: Jobs, job: Job, output: int = HEAD) -> str:
    shown = _shown(server_of(jobs), job.owner, view(jobs, job), jobs.folders.run(job))
    return text_of(str(shown[output]))


def stopped(jobs: Jobs, job: Job) -> None:
    until(lambda: ready(jobs, job), jobs=jobs)
    jobs.stop(job.owner, job.id)
    until(lambda: ended(jobs, job), jobs=jobs)


def uploaded(jobs: Jobs, **changes: Any) -> Job:
    """A job of ada's own pictures."""
    pictures = jobs.folders.uploads("ada") / "pictures"
    pictures.mkdir(parents=True)
    (pictures / "a.png").write_bytes(b"")
    changes = {"dataset_name": None, "train_data_dir": str(pictures), **changes}
    return jobs.submit("ada", {**DEMO, **changes})


@pytest.mark.process
def test_a_training_that_cannot_be_resumed_says_why(tmp_path: Path) -> None:
    jobs = open_jobs(tmp_path / "data", STOPS)
    job = uploaded(jobs)
    stopped(jobs, job)
    assert "last start failed" not in seen(jobs, job)
    jobs.owner_storage.delete("ada")
    jobs.resume("ada", job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    assert view(jobs, job).training.state == "stopped"
    said = seen(jobs, job)
    assert "The last start failed" in said
    assert "what you uploaded for it is not there any more" in said
    assert "Upload it again and start a new training" in said
    assert str(jobs.folders.root) not in said
    jobs.close()


@pytest.mark.process
def test_what_a_training_answers_to_a_resumption_is_shown(tmp_path: Path) -> None:
    jobs = open_jobs(tmp_path / "data", REFUSES)
    job = jobs.submit(LOCAL, DEMO)
    stopped(jobs, job)
    assert "last start failed" not in seen(jobs, job)
    jobs.resume(LOCAL, job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    said = seen(jobs, job)
    assert "The last start failed" in said
    assert "these settings differ and may not: <b>learning_rate</b>" in said
    jobs.close()


@pytest.mark.process
def test_publishing_that_was_refused_says_why(jobs: Jobs) -> None:
    job = jobs.submit("ada", {**DEMO, "hub_model_id": "ada/digits"})
    until(lambda: ended(jobs, job), jobs=jobs)
    settings = jobs.folders.settings(job.id)
    settings.write_text(settings.read_text().replace("sklearn:digits", "/etc"))
    jobs.tokens.keep("ada", "hf_" + "x" * 34, jobs._now() + 1000)
    jobs.publish("ada", job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    assert "Publishing: Failed. The reason is shown under Publish" in seen(jobs, job)
    said = seen(jobs, job, PUBLICATION)
    assert "'/etc' is neither on the Hub nor among what you uploaded" in said
    # Also where an earlier attempt has left its own words.
    record = {"state": "failed", "step": "checking", "reason": "hub: no answer"}
    path_of(jobs.folders.run(job)).write_text(json.dumps({**record, "process": this_process(0)}))
    said = seen(jobs, job, PUBLICATION)
    assert "'/etc' is neither on the Hub nor among what you uploaded" in said
    assert "hub: no answer" in said


@pytest.mark.process
def test_publishing_that_is_gone_is_not_drawn_as_running(jobs: Jobs) -> None:
    job = jobs.submit(LOCAL, {**DEMO, "hub_model_id": "ada/digits"})
    until(lambda: ended(jobs, job), jobs=jobs)
    values: dict[str, Any] = {"state": "running", "step": "uploading", "command": "publish"}
    values["process"] = {**this_process(0), "host": "the-container-of-before"}
    path_of(jobs.folders.run(job)).write_text(json.dumps(values))
    assert (
        "Publishing: Interrupted: the publishing process is gone. The reason is shown under Publish"
        in seen(jobs, job)
    )
    said = seen(jobs, job, PUBLICATION)
    assert "Interrupted" in said
    assert "Upload in one commit (failed)" in said
    # A later attempt that waits, or is refused, does not bring it to life again.
    jobs.publish(LOCAL, job.id)
    assert "Interrupted" in seen(jobs, job, PUBLICATION)
    jobs.stop(LOCAL, job.id)
    assert "Stopped before it was published" in seen(jobs, job, PUBLICATION)


@pytest.mark.parametrize("sign_in", [False, True])
def test_who_is_signed_out_is_not_told_that_there_are_no_runs(jobs: Jobs, sign_in: bool) -> None:
    job = jobs.submit("ada", DEMO)
    with gr.Blocks() as page:
        runs_tab(server_of(jobs, sign_in), page, gr.State(None))
    (tick,) = (one.fn for one in page.fns.values() if one.name == "on_tick")
    nothing: tuple[Any, ...] = (("", ()), (), "model", "", [], (), "", None)
    for asked in (None, job.id) if sign_in else (None,):
        said = text_of(str(tick(asked, *nothing)[0]))
        assert ("Sign in to see your runs" in said) == sign_in
        assert ("A training goes on while you are away" in said) == sign_in
        assert ("No runs yet" in said) != sign_in


def test_runs_of_a_page_that_chose_none_are_found(jobs: Jobs) -> None:
    """As the page was opened, the Hub did not say who the visitor is."""
    with gr.Blocks() as page:
        runs_tab(server_of(jobs), page, gr.State(None))
    handlers = {one.name: one for one in page.fns.values() if one.name in ("on_tick", "on_more")}
    tick, more = (handlers[name].fn for name in ("on_tick", "on_more"))
    answer = next(one.inputs[0] for one in page.fns.values() if "JSON.parse" in str(one.js))
    place = handlers["on_more"].outputs.index(answer)
    asked: tuple[Any, ...] = ("model", "", [], (), "", None)
    assert "No runs yet" in text_of(str(tick("", None, None, *asked)[0]))
    assert more("", None, *asked)[place] == gr.skip()  # an answer each time would have no end
    job = jobs.submit(LOCAL, DEMO)
    until(lambda: "No runs yet" not in str(tick("", None, None, *asked)[0]))
    assert tick("", None, None, *asked)[-1] != gr.skip()  # `on_more` is to follow
    before, found, _ = json.loads(more("", None, *asked)[place])
    assert (before, found) == ("", job.id)
    assert more(job.id, None, *asked)[place] == gr.skip()


@pytest.mark.process
def test_a_finished_run_says_where_its_model_lies_and_what_comes_next(jobs: Jobs) -> None:
    job, run = done(jobs)
    said = seen(jobs, job)
    assert f"Where the model lies {run.model}" in said
    assert "draw pictures" in said and "look for copies" in said and "publish it" in said
    ways = _shown(server_of(jobs), LOCAL, view(jobs, job), run)[WAYS]
    assert ways == gr.update(visible=True)
    server = server_of(jobs)
    space = replace(server, deployment=replace(server.deployment, on_space=True))
    shown = text_of(str(_shown(space, LOCAL, view(jobs, job), run)[HEAD]))
    assert "look for copies" in shown and str(run.path) not in shown
