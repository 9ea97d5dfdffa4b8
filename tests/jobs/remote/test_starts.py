"""Starts of jobs that are interrupted, not answered or not listed yet: none is lost from sight."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memshield.__main__ import main
from memshield.errors import UserError
from memshield.jobs.backends.seam import Begun
from memshield.jobs.remote.client import HubClient
from memshield.jobs.remote.container import STOP
from memshield.jobs.terminal.shared import about_token, backend_of, copy_of, open_run
from memshield.jobs.terminal.stop import stop
from tests.hub_server import Fault, HubServer
from tests.jobs.remote.runs import WAITS, job_of, pretend, submit, trains, until

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
    # A training of this process may have left a handler of its own.
    before_us = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(["submit", *demo, "--hardware", "cpu-basic", "--yes"]) == 2
    finally:
        signal.signal(signal.SIGINT, before_us)
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
    with copy_of(backend, record) as run:
        assert run.backend.look(run.order).runs
    # Nor is a second one started beside it.
    assert main(["resume", id, "--yes"]) == 2
    assert "the Hub does not list it yet" in capsys.readouterr().err
    before = record.model_copy(update={"started": time.time() - 600})
    with copy_of(backend, before) as run:
        assert not run.backend.look(run.order).runs
    with copy_of(backend, before, Begun(time.time())) as run:
        assert run.backend.look(run.order).runs
    # What cannot be cancelled is not called cancelled: it ends as soon as it begins.
    capsys.readouterr()
    assert main(["stop", id, "--now"]) == 1
    said = capsys.readouterr().out
    assert "does not list its job yet" in said
    assert "cancelled" not in said
    assert any(path.name == STOP for path in kept(hub, id))


def test_a_run_that_is_resumed_while_its_owner_is_asked_is_not_resumed_again(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, WAITS)
    id = submit(capsys, tmp_path, "--detach")
    job_of(hub, id).end("CANCELED")

    def resume_elsewhere(*_: object) -> bool:
        monkeypatch.undo()
        pretend(monkeypatch, WAITS)
        assert main(["resume", id, "--yes", "--detach"]) == 0
        return True

    for ends in (False, True):
        monkeypatch.setattr("memshield.jobs.terminal.resume.confirm", resume_elsewhere)
        count = len(hub.jobs.of("ada"))
        if ends:  # by then it has ended, and what is in hand is stale
            started = resume_elsewhere

            def resume_and_end(*words: object, started: Any = started) -> bool:
                started(*words)
                job_of(hub, id).end("CANCELED")
                return True

            monkeypatch.setattr("memshield.jobs.terminal.resume.confirm", resume_and_end)
        assert main(["resume", id]) == 2
        said = capsys.readouterr().err
        assert ("was started meanwhile" if ends else "a job works on it") in said
        assert len(hub.jobs.of("ada")) == count + 1
        job_of(hub, id).end("CANCELED")


def test_a_token_enters_no_job_of_an_organization_unasked(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, WAITS)
    id = submit(capsys, tmp_path, "--detach")
    with open_run(id) as run:
        assert about_token(run, send=False) == []
        private = replace(run, record=run.record.model_copy(update={"needs_token": True}))
        assert "your token goes into the job" in about_token(private, send=False)[0]
        monkeypatch.setattr(run.client, "namespace", "lab")
        with pytest.raises(UserError, match="may have written what it runs"):
            about_token(private, send=False)
        assert about_token(private, send=True)
    job_of(hub, id).end("CANCELED")


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


def test_following_that_fails_says_that_the_job_goes_on(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, WAITS)
    id = submit(capsys, tmp_path, "--detach")
    hub.fail(Fault("answer", path="/api/jobs/", status=403, times=None, message="no scope"))
    assert main(["follow", id]) == 2
    hub.clear_faults()
    said = capsys.readouterr()
    assert "no scope" in said.err
    assert f"It may go on. Follow it:  python -m memshield follow {id}" in said.out


def test_a_stop_that_is_not_waited_for_and_a_job_that_the_record_does_not_know(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, WAITS)
    id = submit(capsys, tmp_path, "--detach")
    until(lambda: trains(hub, id))

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with open_run(id) as run:
        assert stop(run, 60, interrupted) == 1
    assert f"follow {id}" in capsys.readouterr().out
    # A record that knows of none but an earlier job.
    pretend(monkeypatch, WAITS)
    other = submit(capsys, tmp_path, "--detach")
    client = HubClient()
    record = backend_of(client).record(other)
    assert record is not None
    before = {"mark": f"{other}:0", "started": time.time() - 600}
    text = record.model_copy(update=before).model_dump_json()
    client.change({f"{other}/request.json": text.encode()})
    assert main(["stop", other]) == 1
    said = capsys.readouterr().out
    assert "Another job works on it: " in said
    assert f"stop {other} --now" in said
    assert main(["stop", other, "--now"]) == 0
    assert "is billed no more" in capsys.readouterr().out
    assert job_of(hub, other).stage == "CANCELED"
