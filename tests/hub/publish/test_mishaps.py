"""What happens between the checks and the commit, and to runs that are not as they should be."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download

from memshield.audit.report import REPORT, Missing, Report
from memshield.errors import UserError
from memshield.hub import pull
from memshield.hub.publish import assemble, upload
from memshield.hub.publish.preflight import publishing_errors
from memshield.hub.publish.publishing import open_to_publish
from memshield.rundir import RunDir, remove_leftovers
from memshield.runs.promote import promote
from memshield.runs.publication import read_publication
from tests.hub.conftest import TOKEN, FakeClock
from tests.hub.publishing import publish, require_complete
from tests.hub_server import Fault, HubServer
from tests.trained_runs import ROOT

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def change_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()
    path.write_bytes(data)


def meanwhile(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, happens: Callable[[], object]
) -> None:
    """Let something happen just before a step of publishing."""
    step = getattr(module, name)

    def first(*words: Any, **more: Any) -> Any:
        happens()
        return step(*words, **more)

    monkeypatch.setattr(module, name, first)


def test_a_model_that_changes_after_the_check_is_not_published(
    hub: HubServer, digits_run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = digits_run.model / WEIGHTS
    meanwhile(monkeypatch, assemble, "write_gallery", lambda: change_byte(path))
    meanwhile(monkeypatch, assemble, "_take_model", lambda: change_byte(path))
    with pytest.raises(UserError, match="changed while it was being published"):
        publish(digits_run, hub_private_repo=False)
    assert not hub.exists("model", "ada/digits")


def test_training_does_not_take_the_folder_away(
    hub: HubServer, digits_run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile(monkeypatch, upload, "commit", lambda: remove_leftovers(digits_run.path))
    require_complete(hub, publish(digits_run))


def test_a_training_that_ends_meanwhile_leaves_another_model(
    hub: HubServer, digits_run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(digits_run)
    assert read_publication(digits_run).get("outdated") is not True
    meanwhile(monkeypatch, upload, "commit", lambda: promote(digits_run, 1))
    change_byte(digits_run.model / WEIGHTS)
    published = publish(digits_run)
    require_complete(hub, published)
    values = read_publication(digits_run)
    assert (values["state"], values["weights"]) == ("done", published.weights)
    assert values["outdated"] is True


@pytest.mark.slow
@pytest.mark.process
def test_a_folder_that_is_taken_away_empties_nothing(
    hub: HubServer, digits_run: RunDir, lora_run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = publish(digits_run, hub_model_id="ada/model")
    gone = lora_run.path / ".publishing"
    meanwhile(monkeypatch, upload, "commit", lambda: shutil.rmtree(gone))
    with pytest.raises(UserError, match="files were removed while they were sent"):
        publish(lora_run, hub_model_id="ada/model", hub_license=None)
    assert read_publication(lora_run)["state"] == "failed"
    assert hub.head("model", "ada/model") == before.commit
    assert list(hub.tags("model", "ada/model")) == [before.tag]


def test_a_repository_that_is_made_public_meanwhile(
    hub: HubServer, digits_run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_up() -> None:
        HfApi(token=TOKEN).update_repo_settings("ada/digits", private=False)

    meanwhile(monkeypatch, upload, "commit", open_up)
    with pytest.raises(UserError, match="ada/digits is public"):
        publish(digits_run)
    assert hub.tags("model", "ada/digits") == {}
    assert hub.repo_files("model", "ada/digits").keys() == {".gitattributes"}


@pytest.mark.process
def test_the_command_goes_on_with_all_that_was_asked_for(
    hub: HubServer, digits_run: RunDir, tmp_path: Path
) -> None:
    with digits_run.config.open("a") as file:
        file.write("hub_private_repo: false\n")
    text = digits_run.config.read_text().replace("hub_private_repo: null\n", "")
    digits_run.config.write_text(text)
    hub.fail(Fault("answer", path="/repos/create", times=None))
    report = digits_run.audit_of(None)
    with pytest.raises(UserError, match="Nothing is lost"):
        publish(digits_run, hub_private_repo=True, hub_confirm=["license"],
                beside=[f"other={report}"])  # fmt: skip
    words = read_publication(digits_run)["command"].split()[1:]
    assert {"--hub_private_repo", "--hub_license", "--hub_confirm", "--beside"} <= set(words)
    hub.clear_faults()
    subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=hub.environ(tmp_path / "home", TOKEN), check=True
    )
    assert hub.is_private("model", "ada/digits")
    manifest = json.loads(hub.repo_files("model", "ada/digits")["memshield.json"])
    assert list(manifest["beside"]) == ["other"]


@pytest.mark.process
def test_a_folder_named_like_the_dataset_changes_nothing(
    hub: HubServer, lora_run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    HfApi(token=TOKEN).update_repo_settings("ada/pictures", repo_type="dataset", private=True)
    (tmp_path / "here/ada/pictures").mkdir(parents=True)
    (tmp_path / "here/lab/tiny-sd").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UserError, match="the dataset private"):
        publish(lora_run, hub_model_id="ada/lora", hub_license=None, hub_private_repo=False,
                hub_confirm=["no_audit"])  # fmt: skip


@pytest.mark.parametrize("word", ["={}", "base={}", "this model={}", "[x](y)={}"])
def test_names_beside_that_are_refused(hub: HubServer, digits_run: RunDir, word: str) -> None:
    path = digits_run.audit_of(None)
    with pytest.raises(UserError, match="is no name for an audit"):
        publish(digits_run, beside=[word.format(path)])
    with pytest.raises(UserError, match="'plain' is no name"):
        publish(digits_run, beside=[str(path), str(path)])


def test_names_of_this_machine_in_an_audit_stay_here(hub: HubServer, digits_run: RunDir) -> None:
    path = digits_run.audit_of(None) / REPORT
    report = Report.read(path)
    kid = report.quality[0].model_copy(update={"space": "acme-encoder"})
    other = report.memorization[1].model_copy(update={"space": "SSCD acme.pt@01234567"})
    report.model_copy(
        update={
            "data": report.data.model_copy(update={"name": "acme-pictures"}),
            "quality": (report.quality[0], kid),
            "memorization": (report.headline, other),
            "missing": (Missing(measure="features: acme-enc", reason="D:\\acme\\enc is gone"),),
        }
    ).write(path)
    publish(digits_run, hub_private_repo=False)
    for name, data in hub.repo_files("model", "ada/digits").items():
        assert b"acme" not in data, name
    card = hub.repo_files("model", "ada/digits")["memshield.json"].decode()
    assert "own features" in card
    assert "SSCD@01234567" in card


def test_models_that_are_not_whole(hub: HubServer, digits_run: RunDir) -> None:
    weights = digits_run.model / WEIGHTS
    data = weights.read_bytes()
    weights.unlink()
    weights.with_suffix(".bin").write_bytes(data)
    with pytest.raises(UserError, match="the weights of unet are missing"):
        publish(digits_run)
    index = digits_run.model / "model_index.json"
    for text, words in (
        ("{", "model_index.json is not valid"),
        ("{}", "names no class"),
        ('{"_class_name": "DDPMPipeline", "unet": ["my_code", "Net"]}', "another library"),
    ):
        index.unlink()
        index.write_text(text)
        with pytest.raises(UserError, match=words):
            publish(digits_run)
    assert not hub.exists("model", "ada/digits")


def test_runs_that_lack_something(hub: HubServer, digits_run: RunDir) -> None:
    for name in ("private.json", "images.json"):
        (digits_run.audit_of(None) / name).write_text("{}")
    digits_run.events.write_text("{}\n[]\n")
    published = publish(digits_run)
    require_complete(hub, published)
    assert "samples/0.png" not in hub.repo_files("model", "ada/digits")
    digits_run.examples.unlink()
    with pytest.raises(UserError, match="has no examples"):
        publish(digits_run, hub_model_id="ada/other")
    (digits_run.audit_of(None) / REPORT).write_text('{"version": 1, "memorization": []}')
    with pytest.raises(UserError, match="is not valid"):
        publish(digits_run, hub_model_id="ada/other")


def test_a_written_card_stays(hub: HubServer, digits_run: RunDir) -> None:
    published = publish(digits_run)
    api = HfApi(token=TOKEN)
    card = Path(api.hf_hub_download("ada/digits", "README.md")).read_text()
    api.upload_file(
        path_or_fileobj=(card + "\nThanks!\n").encode(), path_in_repo="README.md",
        repo_id="ada/digits",
    )  # fmt: skip
    assert not publish(digits_run).changed
    assert b"Thanks!" in hub.repo_files("model", "ada/digits")["README.md"]
    worse = card.replace("**Copies:** ", "**Copies:** not ")
    api.upload_file(path_or_fileobj=worse.encode(), path_in_repo="README.md", repo_id="ada/digits")
    again = publish(digits_run)
    assert again.changed
    assert hub.tags("model", "ada/digits") == {published.tag: published.commit}


@pytest.mark.process
def test_a_stop_in_the_middle_is_said(hub: HubServer, digits_run: RunDir, tmp_path: Path) -> None:
    hub.fail(Fault("slow", path="/commit/", seconds=60))
    child = subprocess.Popen(
        [sys.executable, "-m", "memshield", "publish", str(digits_run.path),
         "--hub_model_id", "ada/digits", "--hub_license", "mit"],
        cwd=ROOT, env=hub.environ(tmp_path / "home", TOKEN), stderr=subprocess.PIPE,
    )  # fmt: skip
    while not any("/commit/" in request.path for request in hub.requests):
        assert child.poll() is None
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait(timeout=20) == 128 + signal.SIGTERM
    state = read_publication(digits_run)
    assert (state["state"], state["step"]) == ("failed", "uploading")
    assert "broke off" in state["reason"]
    assert not (digits_run.path / ".publishing").exists()
    hub.clear_faults()
    require_complete(hub, publish(digits_run))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (PermissionError("bad token"), UserError, "the upload was refused: bad token"),
        (RuntimeError("403 storage limit"), UserError, "403 storage limit"),
        (OSError(28, "No space left on device"), OSError, "No space left"),
    ],
)
def test_what_the_hubs_own_uploader_raises(
    hub: HubServer, digits_run: RunDir, clock: FakeClock, monkeypatch: pytest.MonkeyPatch,
    error: Exception, kind: type[Exception], words: str,
) -> None:  # fmt: skip
    def fails(**words: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub._commit_api._upload_files", fails)
    with pytest.raises(kind, match=words):
        publish(digits_run, clock)
    assert read_publication(digits_run)["state"] == "failed"
    assert len(clock.slept) == (6 if isinstance(error, RuntimeError) else 0)


@pytest.mark.process
def test_preflight_of_folders_that_are_gone(hub: HubServer, lora_run: RunDir) -> None:
    _, config = open_to_publish(lora_run.path, hub_model_id="bob/x")
    gone = {
        "pretrained_model_name_or_path": "./models/my sd",
        "dataset_name": "./my data",
        "revision": None,
        "dataset_revision": None,
    }
    found = [str(error) for error in publishing_errors(config.model_copy(update=gone))]
    assert any("ada cannot create bob/x" in error for error in found)
    assert any("license of the base is not known" in error for error in found)


def test_what_somebody_else_commits_meanwhile_is_not_overwritten(
    hub: HubServer, digits_run: RunDir, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = HfApi.create_commit
    others = [CommitOperationAdd(path_in_repo="notes.txt", path_or_fileobj=b"mine")]

    def after_others(self: HfApi, *words: Any, **more: Any) -> Any:
        if others:
            commit(self, "ada/digits", [others.pop()], commit_message="Notes")
        return commit(self, *words, **more)

    monkeypatch.setattr(HfApi, "create_commit", after_others)
    with pytest.raises(UserError, match=r"holds other files: notes\.txt"):
        publish(digits_run, clock)
    assert hub.repo_files("model", "ada/digits").keys() == {".gitattributes", "notes.txt"}
    assert hub.tags("model", "ada/digits") == {}
    assert clock.slept == [1.0]


def test_a_commit_that_does_not_hold_what_was_sent_is_not_tagged(
    hub: HubServer, digits_run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "commit", lambda *words: hub.head("model", "ada/digits"))
    with pytest.raises(UserError, match=r"does not hold at .* what was sent"):
        publish(digits_run)
    assert hub.tags("model", "ada/digits") == {}


def test_a_file_that_was_changed_on_its_way_is_not_loaded(
    hub: HubServer, digits_run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(digits_run)
    download = snapshot_download

    def tampered(*words: Any, **more: Any) -> str:
        folder = download(*words, **more)
        change_byte(Path(folder) / WEIGHTS)
        return str(folder)

    monkeypatch.setattr(pull, "snapshot_download", tampered)
    with pytest.raises(UserError, match=f"{WEIGHTS} is another file"):
        pull.fetch("ada/digits", folder=tmp_path / "here")
