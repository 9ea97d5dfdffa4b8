"""Starts of jobs that are interrupted, not answered or not listed yet: none is lost from sight."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from memshield.__main__ import main
from memshield.jobs.backends.seam import Begun
from memshield.jobs.remote.client import HubClient
from memshield.jobs.terminal.shared import backend_of, copy_of
from tests.hub_server import Fault, HubServer
from tests.jobs.remote.runs import WAITS, job_of, pretend, submit, until

pytestmark = pytest.mark.process
START = "/api/jobs/ada"
Said = pytest.CaptureFixture[str]


def kept(hub: HubServer, id: str) -> list[Path]:
    """Files of a run in the bucket."""
    bucket = hub.buckets.get("ada/memshield-runs")
    assert bucket is not None
    return bucket.files(id)


def test_ctrl_c_while_a_job_is_started_leaves_its_files_and_says_how_to_end_it(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, WAITS)
    before, known, me = len(hub.requests), len(hub.jobs.of("ada")), threading.get_ident()
    hub.fail(Fault("slow", method="POST", path=START, seconds=0.5))

    def interrupt() -> None:
        until(
            lambda: any(one.method == "POST" and one.path == START for one in hub.requests[before:])
        )
        signal.pthread_kill(me, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    demo = ["--config", "configs/demo.yaml", "--output_dir", str(tmp_path / "demo")]
    assert main(["submit", *demo, "--hardware", "cpu-basic", "--yes"]) == 2
    until(lambda: len(hub.jobs.of("ada")) > known)
    id = hub.jobs.of("ada")[0].spec["labels"]["memshield-run"]
    said = capsys.readouterr().err
    assert "whether it was is not known" in said
    assert f"stop {id}" in said
    assert kept(hub, id)
    assert main(["stop", id, "--now"]) == 0
    assert job_of(hub, id).stage == "CANCELED"


def test_a_job_that_is_not_listed_yet_is_not_taken_for_gone(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, WAITS)
    id = submit(capsys, tmp_path, "--detach")
    hub.jobs.forget(job_of(hub, id).id)
    backend = backend_of(HubClient())
    record = backend.record(id)
    assert record is not None
    with copy_of(backend, record, Begun(time.time())) as run:
        assert run.backend.look(run.order).runs
    with copy_of(backend, record) as run:
        assert not run.backend.look(run.order).runs


def test_what_cannot_be_deleted_after_a_refusal_is_named_beside_it(
    hub: HubServer, tmp_path: Path, capsys: Said
) -> None:
    hub.jobs.without_credit.add("ada")
    hub.fail(Fault("answer", path="/tree/", times=None))
    demo = ["--config", "configs/demo.yaml", "--output_dir", str(tmp_path / "demo")]
    assert main(["submit", *demo, "--hardware", "cpu-basic", "--yes"]) == 2
    hub.clear_faults()
    said = capsys.readouterr().err
    assert "no credit for Jobs" in said
    assert "cannot be deleted now: do it on the Hub" in said
