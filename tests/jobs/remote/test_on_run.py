"""Audits, comparisons, pictures and publishing of runs on Jobs: as further jobs, and here."""

from __future__ import annotations

from pathlib import Path

import pytest

from memshield.__main__ import main
from memshield.audit.report import Report
from memshield.jobs.remote.submission import Machine, RunTask
from memshield.jobs.terminal.on_run import bring_here
from memshield.rundir import RunDir
from tests.audit.runs import QUICK
from tests.hub_server import HubServer
from tests.jobs.remote.runs import (
    AUDITS,
    TRAINED,
    assert_nowhere,
    job_of,
    live_of,
    pretend,
    pretend_task,
    submit,
    until,
)
from tests.tiny import image_folder, unet_config
from tests.trained_runs import digits

pytestmark = pytest.mark.process
Said = pytest.CaptureFixture[str]
CHEAP = ("--hardware", "cpu-basic", "--yes")


@pytest.fixture
def trained(hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a run that is done, and kept its last checkpoint."""
    pretend(monkeypatch, TRAINED)
    return submit(capsys, tmp_path)


@pytest.mark.slow
def test_from_submit_to_a_published_model_that_was_audited_as_a_job(
    hub: HubServer, tmp_path: Path, capsys: Said
) -> None:
    settings = digits(
        tmp_path / "mine", unet_config(tmp_path / "unet"), num_rounds=1, max_train_steps=4,
        max_train_samples=200, held_out_fraction=0.4,
    )  # fmt: skip
    id = submit(capsys, tmp_path, **settings)
    assert main(["audit", id, *CHEAP, *QUICK, "--no_attacks"]) == 0
    said = capsys.readouterr()
    assert "Audited" in said.out
    assert f"publish {id}" in said.out
    here = RunDir(tmp_path / "mine")
    assert not here.path.exists()
    assert main(["publish", id, "--hub_model_id", "ada/audited"]) == 0
    report = Report.read(here.audit_of(None) / "report.json")
    assert report.generated.count == 40
    assert report.verdict in said.out
    assert not here.checkpoints()
    assert main(["verify", "ada/audited"]) == 0
    assert_nowhere(hub)


def test_an_audit_as_a_job_finds_the_model_and_leaves_checkpoints_in_the_bucket(
    hub: HubServer, tmp_path: Path, trained: str, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_task(monkeypatch, AUDITS)
    assert main(["audit", trained, *CHEAP, "--num_images", "40", "--no_attacks"]) == 0
    said = capsys.readouterr()
    assert "Audited\n" in said.out
    assert "No copies --num_images 40 --no_attacks\n" in said.out
    assert "report.html" not in said.out
    live = live_of(hub, trained)
    assert live is not None
    assert {"model/weights", "checkpoint-9/weights", "audit/model/report.json"} <= set(live.files)
    bucket = hub.buckets.get("ada/memshield-runs")
    assert bucket is not None
    assert bucket.path(f"{trained}/run/checkpoint-9/weights").exists()
    # Here, what a command needs is brought in place of the id.
    assert bring_here([trained, "--num_images", "7"]) == [str(tmp_path / "mine"), *words_of(7)]
    here = RunDir(tmp_path / "mine")
    assert (here.audit_of(None) / "report.json").exists()
    assert not here.checkpoints()
    # A newer audit that was made here is not written over.
    (here.audit_of(None) / "report.json").write_text("{ }")
    bring_here([trained])
    assert (here.audit_of(None) / "report.json").read_text() == "{ }"


def words_of(images: int) -> list[str]:
    return ["--num_images", str(images)]


def test_a_task_that_fails_or_is_stopped_says_so_and_the_run_is_still_done(
    hub: HubServer, tmp_path: Path, trained: str, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_task(monkeypatch, "import sys; print('no room for pictures'); sys.exit(2)")
    assert main(["compare", trained, *CHEAP]) == 2  # it has no rounds
    assert "has no rounds yet" in capsys.readouterr().err
    assert main(["sample", trained, *CHEAP, "--seed", "3"]) == 1
    said = capsys.readouterr()
    assert "Drawing failed. Its last lines say why." in said.out
    assert "no room for pictures" in said.err
    drawn = job_of(hub, trained).spec["command"]
    assert drawn[drawn.index("--output_dir") + 1].endswith("/drawn/2")
    pretend_task(monkeypatch, "import time; print('begun', flush=True); time.sleep(600)")
    assert main(["audit", trained, *CHEAP, "--detach"]) == 0
    assert main(["audit", trained, *CHEAP]) == 2
    assert "a job works on it" in capsys.readouterr().err
    until(lambda: job_of(hub, trained).log)
    assert main(["stop", trained]) == 0
    assert "Auditing was stopped" in capsys.readouterr().out
    assert main(["resume", trained, "--yes"]) == 2
    assert "it is done" in capsys.readouterr().err


def test_what_is_refused_before_it_costs(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, TRAINED)
    pictures = image_folder(tmp_path / "pictures", 40)
    few = {"num_shards": 1, "num_rounds": 1, "train_batch_size": 4, "max_train_steps": 4}
    id = submit(capsys, tmp_path, train_data_dir=pictures, dataset_name="none", **few)
    before = len(hub.jobs.of("ada"))

    def refused(*words: str) -> str:
        assert main(words) == 2
        return capsys.readouterr().err

    assert "does not take --beside x" in refused("audit", id, *CHEAP, "--beside", "x")
    assert "has no rounds/2 yet" in refused("audit", id, *CHEAP, "--round", "2")
    assert "--output: is not taken" in refused("sample", id, *CHEAP, "--output", "a.png")
    assert "is no id of a run" in refused("audit", str(tmp_path), *CHEAP)
    assert "there is no run other-abcdef" in refused("publish", "other-abcdef")
    assert main(["fetch", id]) == 0  # which deletes the copies of the pictures
    assert f"audit {tmp_path / 'mine'}" in refused("audit", id, *CHEAP)
    assert len(hub.jobs.of("ada")) == before


def test_several_gpus_share_an_audit() -> None:
    task = RunTask("audit", ("--round", "2"), Machine("l4x4", 60, "i"))
    words = " ".join(task.command())
    assert words.endswith("multi_gpu.yaml --num_processes 4 -m memshield audit {run} --round 2")
    one = RunTask("compare", (), Machine("l4x4", 60, "i"))
    assert one.command() == ["python", "-m", "memshield", "compare", "{run}"]
