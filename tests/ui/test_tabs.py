"""What the tabs show, without a browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gradio as gr

from memshield.forecast.hardware import Machine
from memshield.jobs.records import LOCAL
from memshield.jobs.service import Jobs
from memshield.jobs.task_progress import TaskProgress
from memshield.network import TryAgainError, asking
from memshield.ui.form.choices import Choices
from memshield.ui.form.planning import plan
from memshield.ui.page import build
from memshield.ui.runs.storage import StoragePanel
from memshield.ui.runs.tab import _shown
from memshield.ui.server.deployment import Deployment
from memshield.ui.server.server import Server
from memshield.ui.server.visitor import Visitors
from tests.jobs.children import DEMO
from tests.tiny import unet_config
from tests.trained_runs import digits

MACHINE = Machine((), 2, 8 * 10**9)


def test_what_goes_on_beside_the_training_is_text(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "data", devices=["cpu"])
    server = Server(Deployment(False, tmp_path / "data", None), jobs, Visitors(False), MACHINE)
    unet = unet_config(tmp_path)
    values = digits(tmp_path / "run", unet) | {"model_config_name_or_path": str(unet)}
    job = jobs.submit(LOCAL, values)
    view = replace(jobs.view(LOCAL, job.id), auditing=TaskProgress("failed", "Failed <b>badly</b>"))
    head = str(_shown(server, LOCAL, view, jobs.folders.run(job))[0])
    assert '<p class="ms" role="status">Audit: Failed &lt;b&gt;badly&lt;/b&gt;</p>' in head
    assert "&lt;p" not in head
    jobs.close()


def test_uploads_do_not_lie_where_gradio_put_them_for_ever(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "data", devices=["cpu"])
    page = build(Server(Deployment(False, tmp_path / "data", None), jobs, Visitors(False), MACHINE))
    assert page.delete_cache == (600, 3600)
    jobs.close()


def test_a_busy_hub_is_said_in_words() -> None:
    try:
        with asking("search", "the search"):
            raise TryAgainError("the Hub answered 503")
    except ValueError as error:
        assert "Try again in a while" in str(error)


def test_a_form_at_home_is_told_of_its_id_and_its_token() -> None:
    made = plan(Choices(hub_model_id="../x"), MACHINE, None)
    said = "\n".join(error.on_page for error in made.errors)
    assert "'../x' is no id on the Hub" in said
    assert "hf auth login" in said and "HF_TOKEN" not in said
    assert "Sign in with" not in said
    signed_out = plan(Choices(hub_model_id="ada/x"), MACHINE, False)
    assert "Sign in with Hugging Face" in "\n".join(str(error) for error in signed_out.errors)


def test_what_is_kept_is_told_and_deleted(tmp_path: Path, jobs: Jobs) -> None:
    server = Server(Deployment(False, tmp_path / "data", None), jobs, Visitors(False), MACHINE)
    with gr.Blocks():
        part = StoragePanel(server)
    uploads = jobs.folders.uploads(LOCAL)
    uploads.mkdir(parents=True)
    (uploads / "0.png").write_bytes(b"x" * 1500)
    assert "Uploads: 1.5 kB. Downloads: 0 bytes." in part._on_look(None)
    job = jobs.submit(LOCAL, DEMO)
    said = part._on_delete(None)
    assert "Nothing was deleted" in said and "runs or waits" in said
    jobs.stop(LOCAL, job.id)
    assert "Only your runs" in part._on_delete(None)
    assert not uploads.exists()
    strangers = Server(Deployment(True, tmp_path / "data", None), jobs, Visitors(True), MACHINE)
    with gr.Blocks():
        signed_out = StoragePanel(strangers)
    assert "Sign in above" in signed_out._on_look(None)
    assert "Sign in above" in signed_out._on_delete(None)
