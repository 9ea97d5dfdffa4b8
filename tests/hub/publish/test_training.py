"""Training that publishes: two states, checked beforehand, and no token anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from memshield.rundir import RunDir
from memshield.runs.publication import read_publication
from tests.hub.conftest import TOKEN, lora_settings, train_in_child
from tests.hub.publishing import require_complete
from tests.hub_server import Fault, HubServer
from tests.tiny import unet_config
from tests.trained_runs import ROOT, digits, flags


def small(folder: Path, **changes: Any) -> dict[str, Any]:
    settings = digits(folder / "run", unet_config(folder / "unet"), num_rounds=1)
    settings |= {"max_train_steps": 2, "push_to_hub": True, "hub_model_id": "ada/digits"}
    return {**settings, "hub_license": "mit", **changes}


@pytest.mark.process
def test_a_model_is_pushed_when_training_is_done(hub: HubServer, tmp_path: Path) -> None:
    said = train_in_child(hub, tmp_path, **small(tmp_path))
    run = RunDir(tmp_path / "run")
    assert run.read_status()["state"] == "done"
    state = read_publication(run)
    assert state["state"] == "done"
    assert f"Published: {state['url']}" in said
    assert hub.is_private("model", "ada/digits")
    # The same command again finds everything done.
    commits = len([request for request in hub.requests if "/commit/" in request.path])
    train_in_child(hub, tmp_path, **small(tmp_path))
    assert len([request for request in hub.requests if "/commit/" in request.path]) == commits


@pytest.mark.process
def test_who_stops_while_the_last_files_are_written_has_nothing_published(
    hub: HubServer, tmp_path: Path
) -> None:
    program = """
import os, signal, sys
from memshield import train
from memshield.runs import promote
promoted = promote.promote
def stopped_meanwhile(run, number):
    os.kill(os.getpid(), signal.SIGTERM)
    promoted(run, number)
promote.promote = stopped_meanwhile
sys.exit(train.main(sys.argv[1:]))
"""
    settings = small(tmp_path, hub_model_id="ada/stopped")
    child = subprocess.run(
        [sys.executable, "-c", program, *flags(**settings)],
        cwd=ROOT,
        env=hub.environ(tmp_path / "home", TOKEN) | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 143, child.stderr
    assert "Not published" in child.stderr
    run = RunDir(tmp_path / "run")
    assert run.read_status()["state"] == "done"
    assert run.model.is_dir()
    assert not hub.exists("model", "ada/stopped")
    # The same command again publishes it.
    train_in_child(hub, tmp_path, **settings)
    assert hub.exists("model", "ada/stopped")


@pytest.mark.slow
@pytest.mark.process
def test_a_failed_push_is_no_failed_training(hub: HubServer, tmp_path: Path) -> None:
    hub.fail(Fault("answer", path="/preupload/", status=403, message="No room", times=None))
    said = train_in_child(hub, tmp_path, expect=3, **small(tmp_path))
    run = RunDir(tmp_path / "run")
    assert run.read_status()["state"] == "done"
    assert run.read_status()["reason"] is None
    state = read_publication(run)
    assert state["state"] == "failed"
    assert "No room" in state["reason"]
    assert "Trained, but not published." in said
    assert state["command"] in said
    hub.clear_faults()
    child = subprocess.run(
        [sys.executable, *state["command"].split()[1:]],
        cwd=ROOT,
        env=hub.environ(tmp_path / "home", TOKEN),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert read_publication(run)["state"] == "done"
    assert run.read_status()["state"] == "done"


@pytest.mark.process
def test_what_cannot_be_published_is_not_trained(hub: HubServer, tmp_path: Path) -> None:
    said = train_in_child(hub, tmp_path, expect=2, **small(tmp_path, hub_model_id="bob/digits"))
    assert "ada cannot create bob/digits" in said
    run = RunDir(tmp_path / "run")
    assert not run.checkpoints()
    assert not run.events.exists() or "step" not in run.events.read_text()


@pytest.mark.process
def test_a_dry_run_names_every_problem_at_once(hub: HubServer, tmp_path: Path) -> None:
    settings = lora_settings(tmp_path / "run", hub_model_id="bob/x", dataset_name="ada/nothing")
    settings["pretrained_model_name_or_path"] = "lab/nothing"
    said = train_in_child(hub, tmp_path, 2, ["--dry_run"], **settings)
    assert "pretrained_model_name_or_path: lab/nothing is not on the Hub" in said
    assert "dataset_name: " in said
    assert "hub_model_id: ada cannot create bob/x" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.process
def test_a_dry_run_takes_one_step_and_leaves_nothing(hub: HubServer, tmp_path: Path) -> None:
    settings = lora_settings(tmp_path / "run", hub_model_id="ada/lora")
    said = train_in_child(hub, tmp_path, 0, ["--dry_run"], **settings)
    assert "one step      trained and saved" in said
    assert "publishing    to ada/lora: can be done" in said
    assert "Everything that can be checked beforehand is in order." in said
    assert not (tmp_path / "run").exists()
    assert not hub.exists("model", "ada/lora")


def test_a_dataset_larger_than_the_disk(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memshield.config.file import make_config
    from memshield.hub.publish.preflight import no_room, room_errors

    config = make_config(
        {"pretrained_model_name_or_path": "lab/tiny-sd", "dataset_name": "ada/pictures"}
    )
    assert room_errors(config) == []
    full = os.statvfs(tmp_path)
    free = full.f_bavail * full.f_frsize
    monkeypatch.setattr("memshield.hub.publish.preflight._PICTURES_ARE_COPIED", free)
    (error,) = room_errors(config)
    assert "ada/pictures needs" in str(error)
    # Of a configuration only its own files are fetched.
    named = config.model_copy(update={"dataset_config_name": "small"})
    assert room_errors(named) == []
    assert no_room("output_dir", "the run", free // 2, tmp_path / "not" / "yet") is None


@pytest.mark.process
def test_a_token_is_in_nothing_that_is_written(hub: HubServer, tmp_path: Path) -> None:
    """Files, events, output, titles of processes, and every upload."""
    settings = small(tmp_path, hub_model_id="ada/secretive", max_train_steps=40, num_rounds=2)
    env = hub.environ(tmp_path / "home", TOKEN) | {"OMP_NUM_THREADS": "1", "HF_DEBUG": "1"}
    env["MEMSHIELD_CACHE"] = str(tmp_path / "cache")
    child = subprocess.Popen(
        [sys.executable, "-m", "memshield.train", *flags(**settings)],
        cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    titles = []
    while child.poll() is None:
        for process in [psutil.Process(child.pid), *psutil.Process(child.pid).children(True)]:
            try:
                titles += process.cmdline()
            except psutil.Error:
                continue
        time.sleep(0.05)
        if len(titles) > 5000:
            break
    said, _ = child.communicate(timeout=120)
    assert child.returncode == 0, said
    assert TOKEN not in said
    assert not [title for title in titles if TOKEN in title]
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
    for data in hub.repo_files("model", "ada/secretive").values():
        assert TOKEN.encode() not in data
    require_complete_of(hub, "ada/secretive")


def require_complete_of(hub: HubServer, repo_id: str) -> None:
    ((tag, commit),) = hub.tags("model", repo_id).items()
    from memshield.hub.publish.publishing import PublishedModel

    require_complete(hub, PublishedModel(repo_id, tag, commit, "", False, True))
