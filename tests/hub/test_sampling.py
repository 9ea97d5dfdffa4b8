"""Pictures of published models: fetched, checked, and held against a run where one is given."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from memshield.audit.report import REPORT
from memshield.errors import UserError
from memshield.hub.provenance import is_from
from memshield.hub.pull import fetch, pull
from memshield.rundir import RunDir
from memshield.runs.publication import path_of
from memshield.sampling.record import Samples, read_samples
from tests.audit.runs import command, refused
from tests.hub.conftest import BOBS, TOKEN
from tests.hub.publishing import publish
from tests.hub_server import HubServer
from tests.trained_runs import ROOT

FAST = ("--num_images", 2, "--num_inference_steps", 2)


def sampled(folder: Path, *words: object) -> Samples:
    command("sample", *words, *FAST, "--output_dir", folder)
    found = read_samples(folder)
    assert found is not None and found.stage == "done"
    return found


def lies_here(run: RunDir, pictures: Path) -> None:
    """Let a run's dataset be a folder: the library that reads those of the Hub was imported
    before there was one."""
    lines = run.config.read_text().splitlines()
    changed = {"dataset_name": "null", "dataset_revision": "null", "train_data_dir": pictures}
    kept = [line for line in lines if line.split(":")[0] not in changed]
    run.config.write_text("\n".join([*kept, *(f"{k}: {v}" for k, v in changed.items())]) + "\n")


def test_without_the_training_pictures_no_warning_is_given_and_that_is_said(
    hub: HubServer, digits_run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(digits_run)
    found = sampled(tmp_path / "made", "ada/digits")
    assert found.model == "ada/digits"
    assert "The training pictures are not here" in str(found.not_compared)
    assert [one.warning for one in found.pictures] == [None, None]
    assert "The training pictures are not here" in capsys.readouterr().out


def test_against_the_run_that_it_came_from(
    hub: HubServer, digits_run: RunDir, tmp_path: Path
) -> None:
    published = publish(digits_run)
    found = sampled(tmp_path / "made", "ada/digits", "--revision", published.commit,
                    "--against", digits_run.path)  # fmt: skip
    assert found.revision == published.commit
    assert (found.run, found.compared) == ("run", 120)
    assert found.rule is not None and found.rule.source == "audit"
    assert all(one.warning is not None for one in found.pictures)


def test_what_tells_that_a_model_came_from_a_run(
    hub: HubServer, digits_run: RunDir, tmp_path: Path
) -> None:
    publish(digits_run)
    _, manifest = fetch("ada/digits")
    assert is_from(manifest, digits_run, thorough=False)
    path_of(digits_run).unlink()
    assert is_from(manifest, digits_run, thorough=False), "its audit names the weights"
    shutil.rmtree(digits_run.path / "audit")
    assert not is_from(manifest, digits_run, thorough=False)
    assert is_from(manifest, digits_run), "they are the same"
    shutil.rmtree(digits_run.model)
    assert is_from(manifest, digits_run), "those of its last round are"
    for path in digits_run.rounds.glob("*/unet/*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
    assert not is_from(manifest, digits_run)
    assert not is_from(manifest, RunDir(tmp_path / "nothing"))


@pytest.mark.process
def test_another_run_is_refused(
    hub: HubServer, digits_run: RunDir, lora_run: RunDir, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    publish(digits_run)
    words = ("sample", "ada/digits", *FAST, "--output_dir", tmp_path / "made", "--against")
    assert "ada/digits did not come from" in refused(capsys, *words, lora_run.path)
    failed = read_samples(tmp_path / "made")
    assert failed is not None and failed.stage == "failed" and failed.pictures == ()
    shutil.rmtree(tmp_path / "made")
    assert "holds no run" in refused(capsys, *words, tmp_path / "nothing")


@pytest.mark.process
def test_a_lora_with_its_prompts(
    hub: HubServer, lora_run: RunDir, captions: Path, tmp_path: Path
) -> None:
    publish(lora_run, hub_model_id="ada/lora", hub_license=None)
    lies_here(lora_run, captions)
    found = sampled(tmp_path / "made", "ada/lora", "--prompt", "a cat", "--against", lora_run.path)
    assert [one.prompt for one in found.pictures] == ["a cat"] * 2
    assert found.compared == 96


def rewritten(hub: HubServer, name: str, **changes: Any) -> None:
    """A copy of ada/lora whose claims were changed, and the card made to fit where it can."""
    files = hub.repo_files("model", "ada/lora")
    values = json.loads(files["memshield.json"])
    values |= changes
    hub.add_files("model", name, files | {"memshield.json": json.dumps(values).encode()})


@pytest.mark.process
def test_a_base_that_was_withheld_is_found_with_the_run(
    hub: HubServer, lora_run: RunDir, tiny_base: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    text = lora_run.config.read_text().replace("lab/tiny-sd", str(tiny_base))
    commit = hub.head("model", "lab/tiny-sd")
    lora_run.config.write_text(text.replace(f"\nrevision: {commit}", "\nrevision: null"))
    publish(lora_run, hub_model_id="ada/lora", hub_license="mit")
    words = ("sample", "ada/lora", "--prompt", "a cat", *FAST)
    assert "its base was withheld" in refused(capsys, *words, "--output", tmp_path / "x.png")
    command(*words, "--base", "lab/tiny-sd", "--output", tmp_path / "x.png")
    found = sampled(tmp_path / "made", *words[1:], "--against", lora_run.path)
    assert len(found.pictures) == 2


@pytest.mark.process
def test_a_base_is_taken_from_the_hub_and_not_from_a_folder_of_its_name(
    hub: HubServer, lora_run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(lora_run, hub_model_id="ada/lora", hub_license=None)
    (tmp_path / "lab" / "tiny-sd").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert pull("ada/lora").get_active_adapters() == ["default_0"]
    for i, name in enumerate(("../../secret", "/etc", 'x"); import os; ("')):
        rewritten(hub, f"bob/tricks-{i}", base={"name": name, "revision": None, "variant": None})
        with pytest.raises(UserError, match="names a base that is no id on the Hub"):
            pull(f"bob/tricks-{i}")
    dataset = {"name": "x\n```python\nimport os", "revision": None, "on_hub": True}
    rewritten(hub, "bob/trick", dataset=dataset)
    with pytest.raises(UserError, match="names a dataset that is no id on the Hub"):
        pull("bob/trick")


def test_with_a_revision_a_folder_of_that_name_is_not_looked_at(
    hub: HubServer, digits_run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = publish(digits_run).commit
    mine = RunDir(shutil.copytree(digits_run.path, tmp_path / "ada" / "digits"))
    monkeypatch.chdir(tmp_path)
    assert sampled(tmp_path / "here", "ada/digits").model == mine.path.name
    found = sampled(tmp_path / "hub", "ada/digits", "--revision", commit)
    assert found.model == "ada/digits" and found.run is None


def test_what_does_not_hold_draws_nothing(
    hub: HubServer, digits_run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(digits_run)
    weights = "unet/diffusion_pytorch_model.safetensors"
    data = bytearray(hub.repo_files("model", "ada/digits")[weights])
    data[-1] ^= 1
    addition = CommitOperationAdd(path_in_repo=weights, path_or_fileobj=bytes(data))
    HfApi(token=TOKEN).create_commit("ada/digits", [addition], commit_message="Better weights")
    for target, words in (
        ("ada/digits", "is another file than the one that was published"),
        ("lab/tiny-sd", "It was not published by MemShield"),
        ("nobody/nothing", "is not on the Hub or not readable"),
    ):
        made = tmp_path / target.replace("/", "-")
        assert words in refused(capsys, "sample", target, *FAST, "--output_dir", made)
        failed = read_samples(made)
        assert failed is not None and failed.stage == "failed"
        assert words in str(failed.problem)
        assert list(made.glob("*.png")) == []


def test_reports_of_other_pictures_give_no_threshold(
    hub: HubServer, digits_run: RunDir, tmp_path: Path
) -> None:
    path = digits_run.path / "audit" / "model" / REPORT
    values = json.loads(path.read_text())
    values["data"]["fingerprint"] = "0" * 64
    path.write_text(json.dumps(values))
    found = sampled(tmp_path / "made", digits_run.path)
    assert found.rule is not None and found.rule.source == "fixed"


@pytest.mark.slow
@pytest.mark.process
def test_a_gated_base_is_answered_in_words(
    hub: HubServer, lora_run: RunDir, tmp_path: Path
) -> None:
    publish(
        lora_run, hub_model_id="ada/lora", hub_license=None, hub_private_repo=False,
        hub_confirm=["no_audit"],
    )  # fmt: skip
    HfApi(token=TOKEN).update_repo_settings("lab/tiny-sd", gated="manual")
    words = ["sample", "ada/lora", "--prompt", "a cat", "--output", str(tmp_path / "x.png")]
    child = subprocess.run(
        [sys.executable, "-m", "memshield", *words],
        cwd=ROOT, env=hub.environ(tmp_path / "home", BOBS), capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert child.returncode == 2, child.stderr
    assert "lab/tiny-sd is gated, and you have no access to it" in child.stderr
    assert "Traceback" not in child.stderr
