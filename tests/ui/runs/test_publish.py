"""What the page answers about publishing, without a browser."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from memshield.config.file import make_config
from memshield.errors import UserError
from memshield.hub.publish.preflight import publishing_errors
from memshield.hub.publish.publishing import Publisher, open_to_publish
from memshield.jobs.environment import environment_of
from memshield.jobs.records import LOCAL
from memshield.jobs.service import Jobs
from memshield.runs.publication import Publication
from memshield.ui.runs.publish import (
    PublishPanel,
    _keep_if_shown,
    _on_change,
    _settings,
    consents,
    consents_of,
)
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

READS = "hf_" + "readonlyreadonlyreadonlyreadonly"


def part_of(jobs: Jobs, folder: Path) -> PublishPanel:
    server = Server(Deployment(False, folder / "data", None), jobs, Visitors(False), MACHINE)
    with gr.Blocks():
        return PublishPanel(server, gr.Textbox())


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
    said = text_of(part._preview(waiting.id, "ada/mine", False, "", [], None)[0])
    assert "Run : it has no model yet" in said
    assert str(jobs.folders.root) not in said


def test_no_input_of_one_run_is_left_for_another() -> None:
    skip = gr.skip()
    assert _on_change("one", "") == [*[skip] * 5, "one"], "what is typed early stays"
    assert _on_change("one", "one") == [skip] * 6
    assert _on_change("two", "one") == ["", False, "", consents(()), "", "two"]
    assert _on_change(None, "one") == [skip] * 6


@pytest.mark.process
@pytest.mark.parametrize("odd", [None, [], {}, ["x"], [["x"]], {"a": 1}, -1, True, "\ud800", "\0",
                                 float("nan")], ids=ascii)  # fmt: skip
def test_what_a_script_sends_is_answered_in_words(jobs: Jobs, tmp_path: Path, odd: Any) -> None:
    part = part_of(jobs, tmp_path)
    job, _ = done(jobs)
    for act in (lambda *inputs: part._preview(*inputs)[0], part._publish):
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
        said, *_ = part._preview(job.id, "ada/mine", False, "mit", ["no_audit"], None)
        assert "it asks to wait 30 s" in said
        config = make_config({**DEMO, "hub_model_id": "ada/mine"})
        (error,) = publishing_errors(config, TOKEN)
        assert "it asks to wait 30 s" in error.problem
        assert time.monotonic() - begun < 5


@pytest.mark.process
def test_consent_is_asked_where_a_warning_applies(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = part_of(jobs, tmp_path)
    assert not part.confirm.visible and part.confirm.choices == []
    job, run = done(jobs)
    run.config.write_text(jobs.folders.settings(job.id).read_text())
    with HubServer() as hub:
        hub.add_user("ada", TOKEN)
        connect(monkeypatch, hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        said, shown, of = part._preview(job.id, "ada/mine", True, "", [], None)
        # It is taken away where another run was chosen before it came.
        assert _keep_if_shown(job.id, of) == [gr.skip()] * 2
        assert _keep_if_shown("another", of) == ["", consents(())]
        assert [name for _, name in shown["choices"]] == ["no_audit", "no_license"]
        assert shown["visible"]
        for sentence, _ in shown["choices"]:
            assert sentence in text_of(said)
        _, shown, _ = part._preview(job.id, "ada/mine", True, "mit", ["no_audit"], None)
        assert [name for _, name in shown["choices"]] == ["no_audit"], "what was ticked stays"
        assert consents_of(run) == gr.skip()
        with pytest.raises(UserError):
            Publisher(*open_to_publish(run.path, hub_model_id="ada/mine",
                                       hub_private_repo=False)).publish()  # fmt: skip
        assert consents_of(run)["visible"]
        assert [name for _, name in consents_of(run)["choices"]] == ["no_audit", "no_license"]
        Publication(run, "ada/mine", "again").ended("done")
        assert not consents_of(run)["visible"]


@pytest.mark.process
def test_a_token_typed_at_home_stays_in_memory(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = part_of(jobs, tmp_path)._server
    with HubServer() as hub:
        hub.add_user("ada", TOKEN)
        hub.add_token("ada", READS, role="read")
        connect(monkeypatch, hub.endpoint)
        for text, words in (
            (None, "no token has"),
            ("a b", "no token has"),
            ("hf_unknown", "does not know this token"),
            (READS, "may only read"),
        ):
            with pytest.raises(UserError, match=words) as caught:
                server.use_token(text)
            assert READS not in str(caught.value)
        assert server.visitor(None).token is None
        assert server.use_token(f" {TOKEN} ") == "ada"
        assert server.visitor(None).token == TOKEN
        of_task = environment_of(LOCAL, jobs.tokens.of(LOCAL), None, "mark", tmp_path, {})
        assert of_task["HF_TOKEN"] == TOKEN
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path
    with pytest.raises(UserError, match="Sign in instead"):
        replace(server, deployment=replace(server.deployment, on_space=True)).use_token(TOKEN)
