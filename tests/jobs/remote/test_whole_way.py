"""A training on Jobs, stopped and resumed, against the same one here."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from memshield.__main__ import main
from memshield.config.file import make_config, read_yaml
from memshield.rundir import RunDir
from tests.hub_server import HubServer
from tests.jobs.remote.conftest import TOKEN
from tests.jobs.remote.runs import job_of, live_of, submit, trains, until
from tests.tiny import unet_config
from tests.trained_runs import digits, train

pytestmark = pytest.mark.process


def test_stopped_and_resumed_it_is_the_run_that_was_never_interrupted(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unet = unet_config(tmp_path / "unet")
    settings = digits(tmp_path / "mine", unet, max_train_steps=90, checkpointing_steps=10)
    id = submit(capsys, tmp_path, "--detach", **settings)
    until(lambda: trains(hub, id))
    assert main(["stop", id]) == 0
    assert "Stopped" in capsys.readouterr().out
    stopped = live_of(hub, id)
    assert stopped is not None
    assert stopped.status["state"] == "stopped"
    assert job_of(hub, id).stage == "COMPLETED"
    begun_at = max(
        int(name.split("/")[0].removeprefix("checkpoint-"))
        for name in stopped.files
        if name.startswith("checkpoint-")
    )
    assert 0 < begun_at < 90
    assert main(["resume", id, "--yes"]) == 0
    said = capsys.readouterr()
    assert "Done" in said.out
    assert "90/90" in said.err  # the bar
    assert main(["fetch", id]) == 0
    here = RunDir(tmp_path / "mine")
    assert here.read_status()["attempt"] == 2
    assert make_config(read_yaml(here.config)).model_config_name_or_path == str(unet)
    plain = train(**{**settings, "output_dir": tmp_path / "plain"})
    ours, theirs = (
        load_file(run.model / "unet" / "diffusion_pytorch_model.safetensors")
        for run in (here, plain)
    )
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    assert here.round_of_model() == plain.round_of_model() == 3
    # A second time nothing is fetched; a copy of a run is not written over another run.
    assert main(["fetch", id]) == 0
    assert "0 new files" in capsys.readouterr().out
    assert main(["fetch", id, "--output_dir", str(plain.path)]) == 2
    assert "holds another run" in capsys.readouterr().err
    # What was copied to the bucket is gone, and with --delete all of it.
    bucket = hub.buckets.get("ada/memshield-runs")
    assert bucket is not None
    assert not bucket.files(f"{id}/inputs")
    assert main(["fetch", id, "--delete"]) == 0
    assert not bucket.files(id)
    assert_nowhere(hub, TOKEN.encode())


def assert_nowhere(hub: HubServer, token: bytes) -> None:
    """The token was in Authorization headers alone, and is in no file of the bucket."""
    assert hub.requests
    for request in hub.requests:
        others = [value for name, value in request.headers.items() if name != "authorization"]
        assert token.decode() not in " ".join([request.path, *others])
    assert not any(token in body for body in hub.bodies)
    bucket = hub.buckets.get("ada/memshield-runs")
    assert bucket is not None
    assert not any(token in path.read_bytes() for path in bucket.files())
    for job in hub.jobs.of("ada"):
        assert token.decode() not in str((job.spec, job.log))
