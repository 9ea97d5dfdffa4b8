"""A training on Jobs against the same one here: to its end, and stopped and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from memshield.__main__ import main
from memshield.config.file import make_config, read_yaml
from memshield.rundir import RunDir
from tests.hub_server import HubServer
from tests.jobs.remote.runs import assert_nowhere, job_of, live_of, submit, trains, until
from tests.tiny import unet_config
from tests.trained_runs import digits, train

pytestmark = pytest.mark.process


def assert_same_model(run: RunDir, other: RunDir) -> None:
    ours, theirs = (
        load_file(one.model / "unet" / "diffusion_pytorch_model.safetensors")
        for one in (run, other)
    )
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    assert run.round_of_model() == other.round_of_model() is not None


def test_it_is_the_run_that_it_is_here(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unet = unet_config(tmp_path / "unet")
    settings = digits(tmp_path / "mine", unet, num_rounds=1, max_train_steps=6)
    id = submit(capsys, tmp_path, **settings)
    assert main(["fetch", id]) == 0
    here, plain = RunDir(tmp_path / "mine"), RunDir(tmp_path / "plain")
    # The settings are those that were given, not those of the container.
    config = make_config(read_yaml(here.config))
    assert (config.model_config_name_or_path, config.output_dir) == (str(unet), str(here.path))
    train(**{**settings, "output_dir": plain.path})
    assert_same_model(here, plain)
    # A second time nothing is fetched; a copy of a run is not written over another run.
    capsys.readouterr()
    assert main(["fetch", id]) == 0
    assert "0 new files" in capsys.readouterr().out
    assert main(["fetch", id, "--output_dir", str(plain.path)]) == 2
    assert "holds another run" in capsys.readouterr().err
    # What was copied to the bucket is gone, and with --delete all of it.
    bucket = hub.buckets.get("ada/memshield-runs")
    assert bucket is not None
    assert bucket.files(id)
    assert not bucket.files(f"{id}/inputs")
    assert main(["fetch", id, "--delete"]) == 0
    assert not bucket.files(id)
    assert_nowhere(hub)


@pytest.mark.slow
def test_stopped_and_resumed_it_is_the_run_that_was_never_interrupted(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unet = unet_config(tmp_path / "unet")
    settings = digits(tmp_path / "mine", unet, max_train_steps=300, checkpointing_steps=40)
    id = submit(capsys, tmp_path, "--detach", **settings)
    until(lambda: trains(hub, id))
    assert main(["stop", id]) == 0
    assert "Stopped" in capsys.readouterr().out
    stopped = live_of(hub, id)
    assert stopped is not None
    assert stopped.status["state"] == "stopped"
    assert job_of(hub, id).stage == "COMPLETED"
    steps = {
        int(name.split("/")[0].removeprefix("checkpoint-"))
        for name in stopped.files
        if name.startswith("checkpoint-")
    }
    assert 0 < max(steps) < 300
    assert main(["resume", id, "--yes"]) == 0
    said = capsys.readouterr()
    assert "Done" in said.out
    assert "300/300" in said.err  # the bar
    assert main(["fetch", id]) == 0
    here = RunDir(tmp_path / "mine")
    assert here.read_status()["attempt"] == 2
    assert_same_model(here, train(**{**settings, "output_dir": tmp_path / "plain"}))
