"""What the page answers about publishing, without a browser."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from memshield.config.file import make_config
from memshield.hub.publish.preflight import publishing_errors
from memshield.jobs.records import LOCAL
from memshield.jobs.service import Jobs
from memshield.ui.runs.publish import PublishPanel, _on_change, _settings
from memshield.ui.server.deployment import Deployment
from memshield.ui.server.server import Server
from memshield.ui.server.visitor import Visitors
from tests.hub.conftest import TOKEN
from tests.hub_server import Fault, HubServer
from tests.hub_server.in_process import connect
from tests.jobs.children import DEMO, ended, until
from tests.ui.markup import text_of
from tests.ui.runs.test_audit import done
from tests.ui.runs.test_audit_data import PLAIN, audited
from tests.ui.test_tabs import MACHINE


def part_of(jobs: Jobs, folder: Path) -> PublishPanel:
    server = Server(Deployment(False, folder / "data", None), jobs, Visitors(False), MACHINE)
    with gr.Blocks():
        return PublishPanel(server, gr.Dropdown())


@pytest.mark.process
def test_the_plain_training_of_the_same_pictures_stands_on_the_card(
    jobs: Jobs,
    tmp_path: Path,
) -> None:
    part = part_of(jobs, tmp_path)
    job, run = done(jobs)
    audited(run)
    assert part._beside(LOCAL, job.id) == {}
    twin = jobs.submit_plain(LOCAL, job.id)
    until(lambda: ended(jobs, twin), jobs=jobs)
    assert part._beside(LOCAL, job.id) == {}, "it is not audited yet"
    audited(jobs.folders.run(twin), mitigation=PLAIN)
    assert part._beside(LOCAL, job.id) == {"plain": twin.id}
    assert part._beside(LOCAL, twin.id) == {}, "a plain one is not compared with itself"
    part._publish(job.id, "ada/mine", False, "mit", ["no_audit"], None)
    command = jobs.view(LOCAL, job.id).command
    assert f"--beside plain={jobs.folders.run(twin).path}" in command
    assert "--hub_confirm no_audit" in command


@pytest.mark.process
def test_what_is_empty_is_the_runs_own(jobs: Jobs, tmp_path: Path) -> None:
    part = part_of(jobs, tmp_path)
    job, run = done(jobs, hub_model_id="ada/mine", hub_license="mit")
    run.config.write_text(jobs.folders.settings(job.id).read_text())
    part._publish(job.id, "", False, "", [], None)
    assert "--hub_model_id ada/mine" in jobs.view(LOCAL, job.id).command
    assert "--hub_license" not in jobs.view(LOCAL, job.id).command
    jobs.stop(LOCAL, job.id)
    part._publish(job.id, "ada/other", False, "apache-2.0", [], None)
    assert "--hub_model_id ada/other" in jobs.view(LOCAL, job.id).command
    assert "--hub_license apache-2.0" in jobs.view(LOCAL, job.id).command


@pytest.mark.process
def test_problems_are_told_with_the_pages_own_words(jobs: Jobs, tmp_path: Path) -> None:
    part = part_of(jobs, tmp_path)
    job, _ = done(jobs)
    said = text_of(part._publish(job.id, "", False, "", [], None))
    assert "Repository : is needed to publish" in said
    assert "hub_model_id" not in said
    waiting = jobs.submit(LOCAL, DEMO)
    said = text_of(part._preview(waiting.id, "ada/mine", False, "", [], None))
    assert "Run : it has no model yet" in said
    assert str(jobs.folders.root) not in said


def test_no_input_of_one_run_is_left_for_another() -> None:
    skip = gr.skip()
    assert _on_change("one", "") == [*[skip] * 5, "one"], "what is typed early stays"
    assert _on_change("one", "one") == [skip] * 6
    assert _on_change("two", "one") == ["", False, "", [], "", "two"]
    assert _on_change(None, "one") == [skip] * 6


@pytest.mark.process
@pytest.mark.parametrize("odd", [None, [], {}, ["x"], [["x"]], {"a": 1}, -1, True, "\ud800", "\0",
                                 float("nan")], ids=ascii)  # fmt: skip
def test_what_a_script_sends_is_answered_in_words(jobs: Jobs, tmp_path: Path, odd: Any) -> None:
    part = part_of(jobs, tmp_path)
    job, _ = done(jobs)
    for act in (part._preview, part._publish):
        said = act(job.id, odd, odd, odd, odd, None)
        assert "Publishing has been queued" not in said
        said.encode()
        act(job.id, "ada/mine", odd, None, odd, None).encode()
    assert _settings("ada/mine", odd, odd, odd)["hub_private_repo"] is (odd is not True)


@pytest.mark.process
def test_a_preview_says_that_the_hub_asks_to_wait(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does not do it: others wait for the same handler."""
    part = part_of(jobs, tmp_path)
    job, run = done(jobs)
    run.config.write_text(jobs.folders.settings(job.id).read_text())
    with HubServer() as hub:
        hub.add_user("ada", TOKEN)
        connect(monkeypatch, hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        busy = Fault("answer", status=429, headers={"Retry-After": "30"}, times=None)
        hub.fail(busy)
        begun = time.monotonic()
        said = part._preview(job.id, "ada/mine", False, "mit", ["no_audit"], None)
        assert "it asks to wait 30 s" in said
        config = make_config({**DEMO, "hub_model_id": "ada/mine"})
        (error,) = publishing_errors(config, TOKEN)
        assert "it asks to wait 30 s" in error.problem
        assert time.monotonic() - begun < 5
