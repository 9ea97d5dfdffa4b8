"""Audits of any model on the page, without a browser: the form, the list, and what they show."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import gradio as gr
import pytest

from memshield.audit.report import REPORT
from memshield.errors import UserError
from memshield.forecast.hardware import Machine
from memshield.jobs.model_audit_check import NOTHING_HELD_OUT
from memshield.jobs.model_audits import ModelAudit
from memshield.jobs.records import LOCAL
from memshield.jobs.service import Jobs
from memshield.jobs.task_progress import TaskProgress
from memshield.ui.audits.asked import CheckedAudit, check_audit
from memshield.ui.audits.audited import FOLDER, audited_view, line_of
from memshield.ui.audits.tab import Handlers
from memshield.ui.audits.uploads import keep_upload, uploaded
from memshield.ui.new.uploads.adding import add_files
from memshield.ui.server.deployment import Deployment
from memshield.ui.server.server import Server
from memshield.ui.server.visitor import Visitor, Visitors
from tests.audit.loras import made_lora
from tests.audit.reports import report_of
from tests.hub.conftest import BOBS, TOKEN
from tests.hub.conftest import hub as hub
from tests.hub_server import HubServer
from tests.refusals import refusal_of
from tests.tiny import ddpm_pipeline, image_folder
from tests.ui.markup import text_of

ASKED: dict[str, Any] = {
    "model": "lab/tiny-sd", "where": "name", "held": "share", "held_out_share": 40.0,
    "prompts": "train", "num_images": "",
}  # fmt: skip
SKIPPED = gr.skip()


@pytest.fixture
def server(hub: HubServer, tmp_path: Path) -> Iterator[Server]:
    jobs = Jobs(tmp_path / "data", ["cpu"])
    machine = Machine((), 2, 8 * 10**9)
    yield Server(Deployment(True, tmp_path / "data", None), jobs, Visitors(True), machine)
    jobs.close()


def signed_in(token: str) -> gr.OAuthToken:
    return gr.OAuthToken(token=token, scope="", expires_at=2**40)


@pytest.fixture
def check(server: Server, captions: Path) -> Callable[..., CheckedAudit]:
    """Checks a form of somebody at home, whose pictures lie in a folder."""

    def checked(**changes: Any) -> CheckedAudit:
        form = {**ASKED, "dataset": str(captions), **changes}
        return check_audit(server.jobs, Visitor(LOCAL, None), form)

    return checked


def test_a_form_is_read_and_what_cannot_be_said_is_told_first(
    server: Server, check: Callable[..., CheckedAudit]
) -> None:
    found = check()
    assert found.notes == () and not found.needs_token
    assert found.values["held_out_share"] == 40 and found.values["num_images"] is None
    (note,) = check(held_out_share=20).notes
    assert "40 pictures held out, and 60 are needed" in note
    assert check(held="none").notes == (NOTHING_HELD_OUT,)
    server.jobs.model_audits.submit(LOCAL, found.values)


def test_a_lora_is_looked_up_with_its_base(
    hub: HubServer, check: Callable[..., CheckedAudit], tiny_base: Path, tmp_path: Path
) -> None:
    hub.add_repo("model", "ada/style", made_lora(tiny_base, tmp_path / "a", "lab/tiny-sd"))
    hub.add_repo("model", "ada/nameless", made_lora(tiny_base, tmp_path / "b"))
    hub.add_repo("model", "ada/grey", ddpm_pipeline(tmp_path / "ddpm"))
    hub.add_repo("model", "ada/private", tiny_base, private=True)
    assert check(model="ada/style").notes == ()
    said = refusal_of(lambda: check(model="ada/nameless"))
    assert "base: ada/nameless is a LoRA that does not say what it goes on" in said
    assert check(model="ada/nameless", base="lab/tiny-sd").notes == ()
    said = refusal_of(lambda: check(model="ada/style", base="ada/grey"))
    assert "base: ada/grey draws without prompts" in said
    assert check(model="ada/style", base="ada/private").needs_token


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "nobody/nothing"}, "model: nobody/nothing is not on the Hub"),
        ({"model": ""}, "model: is missing"),
        ({"model": "/etc"}, "model: /etc is neither a diffusers pipeline nor a LoRA"),
        ({"dataset": "nobody/nothing"}, "dataset: nobody/nothing is not on the Hub"),
        ({"dataset": "/no/such"}, "dataset: there is no folder /no/such"),
        ({"dataset": "bare"}, "dataset: this model draws what captions say"),
        ({"dataset": "few"}, "dataset: 15 training pictures are too few"),
        ({"split": "nope"}, "split: cannot open"),
        ({"caption_column": "nope"}, "caption_column: "),
        ({"held": "split", "held_out_split": ""}, "held_out_split: is empty"),
        ({"held": "split", "held_out_split": "test"}, "held_out_split: cannot open"),
        ({"held": "other", "held_out": ""}, "held_out: is empty"),
        ({"held": "other", "held_out": "no/thing"}, "held_out: no/thing is not on the Hub"),
        ({"held": "upload", "held_upload": ""}, "held_upload: there are no pictures yet"),
        ({"held": "upload", "held_upload": "../x"}, "held_upload: these pictures are not here"),
        ({"where": "upload"}, "training: there are no pictures yet"),
        ({"where": "upload", "training": ["a"]}, "training: these pictures are not here"),
        ({"held_out_share": None}, "held_out_share: is empty"),
        ({"held_out_share": 2.5}, "held_out_share: must be 1 to 90"),
        ({"num_images": "many"}, "num_images: 'many' is not a whole number"),
        ({"prompts": {"a": 1}}, "prompts: is no kind of prompts"),
        ({"prompts": "held_out", "held": "none"}, "prompts: no pictures are held out"),
        ({"model": "ddpm", "prompts": "perturbed"}, "ddpm takes no prompts"),
        ({"split": "train[:50]"}, "held_out_share: a share is of a whole split"),
        (
            {"where": "upload", "held": "split", "held_out_split": "test"},
            "held_out_split: pictures that you upload have no splits",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_beside_its_field(
    check: Callable[..., CheckedAudit], tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    if changes.get("dataset") in ("bare", "few"):
        bare = changes["dataset"] == "bare"
        made = image_folder(tmp_path / "made", 90 if bare else 25, captions=not bare)
        changes = {**changes, "dataset": str(made)}
    if changes.get("model") == "ddpm":
        changes = {**changes, "model": str(ddpm_pipeline(tmp_path / "ddpm"))}
    assert words in refusal_of(lambda: check(**changes))


def test_a_dataset_that_is_not_there_is_told_of_once(check: Callable[..., CheckedAudit]) -> None:
    said = refusal_of(lambda: check(dataset="nobody/nothing", held="split", held_out_split="test"))
    assert said.count("is not on the Hub") == 1


def test_nothing_of_uploads_is_kept_beside_them(
    server: Server, captioned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "kept"))
    name = "0" * 16
    home = server.jobs.folders.uploads("ada") / FOLDER / name
    add_files(sorted(captioned.iterdir()), home)
    form = {**ASKED, "where": "upload", "training": name}
    with pytest.raises(UserError, match="15 training pictures are too few"):
        check_audit(server.jobs, Visitor("ada", TOKEN), form)
    assert not (tmp_path / "kept").exists()


def test_uploads_add_up_and_are_their_owners(
    server: Server, captioned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    pictures = sorted(captioned.glob("*.png"))

    def sent(*paths: Path) -> list[dict[str, str]]:
        found = []
        for i, path in enumerate(paths):
            folder = tmp_path / "gradio" / f"{i:064x}"
            folder.mkdir(parents=True, exist_ok=True)
            found.append({"path": str(shutil.copy(path, folder))})
        return found

    mine, theirs = (server.jobs.folders.uploads(owner) for owner in ("ada", "bob"))
    name, added = keep_upload(sent(*pictures[:3]), mine, "")
    again, more = keep_upload(sent(*pictures[3:5]), mine, name)
    assert (again, added.added, more.added) == (name, 3, 2)
    assert len(list(uploaded(mine, name).glob("*.png"))) == 5
    for odd in (name, "", None, ["a"], "../x", "0" * 16):
        with pytest.raises(UserError, match=r"there are no pictures yet|not here any more"):
            uploaded(theirs, odd)
    values = {"model": "lab/tiny-sd", "dataset": str(uploaded(mine, name))}
    assert server.jobs.model_audits.submit("ada", values)
    with pytest.raises(UserError, match="neither on the Hub nor among what you uploaded"):
        server.jobs.model_audits.submit("bob", values)


def test_an_audit_on_a_space_is_its_owners(server: Server) -> None:
    act, ada, bob = Handlers(server), signed_in(TOKEN), signed_in(BOBS)
    values = {"model": "lab/tiny-sd", "dataset": "ada/pictures", "held_out_share": 40}
    id = server.jobs.model_audits.submit("ada", values)
    assert act.listed(None, ada).value == id and act.listed(None, ada).visible
    assert act.listed(id, bob).choices == [] and not act.listed(id, bob).visible
    assert act.listed(id, None).choices == []
    assert [act.load(one)[0].open for one in (ada, bob, None)] == [False, True, True]
    assert act.load(ada)[1].value == id and "Sign in" in act.load(None)[2]
    listed, state, result, _, stop, delete, clock, seen = act.show(id, "", ada)
    assert "Waiting, number 1" in text_of(state) and result == ""
    assert listed.value == id and stop.visible and delete.visible and clock.active
    assert str(server.jobs.folders.root) not in state
    assert act.show(id, seen, ada) == [SKIPPED] * 8
    for one in (id, "../x", ["a"], 7, {"a": 1}):
        assert "there is no job" in text_of(act.show(one, "", bob)[1])
        act.stop(one, bob)
        act.delete(one, bob)
    assert "Sign in to audit" in text_of(act.show(id, "", None)[1])
    assert server.jobs.model_audits.get("ada", id).busy
    act.stop(id, ada)
    assert "Taken out of the queue" in text_of(act.show(id, "", ada)[1])
    act.delete(id, ada)
    assert act.listed(id, ada).choices == []


def shown(
    folder: Path, state: Any, reason: str | None = None, lines: tuple[str, ...] = (), **changes: Any
) -> ModelAudit:
    from memshield.jobs.model_audit_request import ModelAuditArguments

    arguments = ModelAuditArguments("lab/tiny-sd", "/srv/uploads/ada/for-audits/x/y", **changes)
    progress = TaskProgress(state, "Failed", reason, lines)
    return ModelAudit("id", 0.0, arguments, progress, None, None, folder, "python", ())


def test_a_report_can_be_kept_and_a_refusal_is_told_in_its_words(tmp_path: Path) -> None:
    report_of(0.2, 0.1).write(tmp_path / REPORT)
    (tmp_path / "report.html").write_text("<p>the page</p>")
    done = shown(tmp_path, "done", held_out_share=20)
    page = audited_view(done, at_home=False)
    assert 'download="report.html"' in page and 'download="report.json"' in page
    assert "data:text/html;base64," in page and str(tmp_path) not in page
    assert "/srv/uploads" not in page and "your upload" in text_of(page)
    assert "the last 20 % of the pictures" in text_of(page)
    assert str(tmp_path) in audited_view(done, at_home=True)
    assert "copies found" in line_of(done)
    report_of(0.0, 0.1, broken=90).write(tmp_path / REPORT)
    assert "the model is broken" in line_of(shown(tmp_path, "done"))
    refused = shown(tmp_path, "failed", "it does not fit. Name another.")
    text = text_of(audited_view(refused, at_home=True))
    assert "it does not fit. Name another." in text
    lines = ("Traceback (most recent call last):", "  x", "KeyError: 1")
    crashed = shown(tmp_path, "failed", "The audit ended with an error.", lines)
    text = text_of(audited_view(crashed, at_home=True))
    assert "The audit ended with an error" in text and "KeyError: 1" in text
