"""Jobs as a backend of the queue, how seldom it asks, and a bucket that takes no more."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from memshield.errors import UserError
from memshield.jobs.backends.hub_jobs import HubJobs
from memshield.jobs.remote import client, container
from memshield.jobs.remote.client import HubClient
from memshield.jobs.remote.code import code_files, to_send, version_of
from memshield.jobs.remote.record import RunRecord
from memshield.jobs.remote.submission import Machine, command_of, processes_for, start
from memshield.jobs.terminal.shared import order_of, seconds_of
from tests.hub_server import HubServer
from tests.jobs.children import ended, local, open_jobs, task_of, until, view
from tests.jobs.remote.runs import WAITS, pretend

pytestmark = pytest.mark.process
MACHINE = Machine("cpu-basic", 600, "python:3.11")


def test_the_queue_shows_stops_and_explains_a_job_as_a_local_run(
    hub: HubServer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, WAITS)
    backend = HubJobs(HubClient(), MACHINE, live_seconds=0.1, jobs_seconds=0.1)
    jobs = open_jobs(root, backend=backend)
    job = local(jobs)
    until(lambda: view(jobs, job).training.words == "Training, step 3 of 10", jobs=jobs)
    jobs.stop("", job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    assert view(jobs, job).training.state == "stopped"
    jobs.resume("", job.id)
    until(lambda: view(jobs, job).training.state == "running", jobs=jobs)
    # The next server finds it by its label.
    jobs.close()
    second = open_jobs(root, backend=HubJobs(HubClient(), None, 0.1, 0.1))
    second.scheduler.step()
    assert not ended(second, job)
    hub.jobs.of("ada")[0].end("ERROR", "Node was evicted")
    until(lambda: ended(second, job), jobs=second)
    shown = view(second, job)
    assert shown.training.state == "died"
    assert "Node was evicted" in str(shown.training.reason)
    assert "resume" in shown.actions
    assert task_of(second, job).pid is None
    second.close()


def test_twenty_runs_are_followed_by_less_than_two_requests_a_second(
    hub: HubServer, tmp_path: Path
) -> None:
    client, now = HubClient(), 1000.0
    client.make_bucket()
    hub.jobs.full.add("t4-small")  # jobs without processes
    bucket = hub.buckets.get(client.bucket)
    assert bucket is not None
    (bucket.folder / "code" / "1").mkdir(parents=True)
    orders = []
    for number in range(20):
        record = RunRecord(
            id=f"run-aaaa{number + 10}", name="run", hardware="t4-small", image="python:3.11",
            seconds=600, code="1",
        )  # fmt: skip
        record, _ = start(client, record)
        live = {"time": now, "mark": "m", "status": {"state": "running"}, "files": {}}
        bucket.path(f"{record.id}/live.json").write_text(json.dumps(live))
        orders.append(order_of(record, tmp_path / record.id))
    backend = HubJobs(client, now=lambda: now)
    for order in orders:
        backend.look(order)
    begun, cpu, seconds = len(hub.requests), time.process_time(), 120
    for _ in range(seconds):
        now += 1
        for order in orders:
            assert backend.look(order).runs
    asked = [one for one in hub.requests[begun:] if one.origin == "hub"]
    assert 0 < len(asked) / seconds < 2
    # The Hub of this test, in the same process, is counted as well.
    assert (time.process_time() - cpu) / seconds < 0.25


def test_a_bucket_that_takes_no_more_ends_the_job_with_a_code_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "WITHOUT_ROOM_SECONDS", 0.2)
    monkeypatch.setattr(container, "_LAST_COPY_SECONDS", 0.1)
    mount, code = tmp_path / "mount", tmp_path / "code"
    (code / "configs").mkdir(parents=True)
    mount.mkdir()
    (mount / "run").write_text("no folder")  # nothing can be written below it
    waits = "import pathlib, sys, time; pathlib.Path(sys.argv[1], 'a').touch(); time.sleep(60)"
    words = [sys.executable, "-c", waits, "{run}"]
    begun = time.monotonic()
    code_of_it = container.run(mount, code, "m", 0.05, None, {}, words)
    assert code_of_it == container.NO_ROOM
    assert time.monotonic() - begun < 30


def test_a_folder_is_listed_only_when_it_is_whole(tmp_path: Path) -> None:
    run, mount = tmp_path / "run", tmp_path / "mount"
    (run / "checkpoint-1").mkdir(parents=True)
    (run / "checkpoint-1" / "a").write_text("1")
    (run / ".checkpoint-2.tmp").mkdir()
    (run / ".checkpoint-2.tmp" / "a").write_text("half")
    (run / "status.json").write_text("{}")
    mount.mkdir()
    copy = container.Copy(run, mount, "m")
    copy.bring_up_to_date("small", b"out")
    assert sorted(json.loads((mount / "live.json").read_text())["files"]) == ["status.json"]
    copy.bring_up_to_date("all", b"out")
    listed = json.loads((mount / "live.json").read_text())["files"]
    assert sorted(listed) == ["checkpoint-1/a", "status.json"]
    (run / "checkpoint-1" / "a").unlink()
    copy.bring_up_to_date("all", b"out")
    assert not (mount / "run" / "checkpoint-1" / "a").exists()
    again = tmp_path / "again"
    container.Copy(again, mount, "m").restore()
    assert [path.name for path in again.rglob("*")] == ["status.json"]


def test_a_new_state_is_copied_at_once(tmp_path: Path) -> None:
    mount, code = tmp_path / "mount", tmp_path / "code"
    (code / "configs").mkdir(parents=True)
    mount.mkdir()
    program = """
import pathlib, sys, time
run, live = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
(run / "status.json").write_text('{"state": "running"}')
while not live.exists():
    time.sleep(0.05)
"""
    words = [sys.executable, "-c", program, "{run}", str(mount / "live.json")]
    begun = time.monotonic()
    assert container.run(mount, code, "m", 30.0, 60.0, {}, words) == 0
    assert time.monotonic() - begun < 20


def test_the_code_is_sent_as_few_files_and_is_the_same_there(tmp_path: Path) -> None:
    files = code_files()
    for name, content in to_send(files).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes) else content.read_bytes()
        (tmp_path / name).write_bytes(data)
    sent = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert sent == ["code.zip", "container.py", "requirements.txt"]
    there = container.unpacked(tmp_path, tmp_path / "there")
    found = {
        path.relative_to(there).as_posix(): path for path in there.rglob("*") if path.is_file()
    }
    assert version_of(dict(found)) == version_of(files)


def test_processes_are_as_many_as_gpus_and_shards() -> None:
    asked = (("l4x4", 8), ("l4x4", 3), ("l4x1", 8), ("cpu-basic", 8))
    assert [processes_for(*one) for one in asked] == [4, 3, 1, 1]
    record = RunRecord(
        id="run-aaaaaa",
        name="run",
        hardware="l4x4",
        image="i",
        seconds=60,
        code="1",
        processes=3,
        mark="run-aaaaaa:1",
    )
    words = " ".join(command_of(record))
    assert "multi_gpu.yaml --num_processes 3 -m memshield.train" in words
    one = record.model_copy(update={"hardware": "l4x1", "processes": 1})
    # As accelerate starts it with configs/accelerate/single_gpu.yaml, or cpu.yaml.
    precision = "-- env ACCELERATE_MIXED_PRECISION={} python -m memshield.train"
    assert precision.format("bf16") in " ".join(command_of(one))
    slow = one.model_copy(update={"hardware": "cpu-basic"})
    assert precision.format("no") in " ".join(command_of(slow))
    assert [seconds_of(text) for text in ("90m", "1.5h", "2d")] == [5400, 5400, 172_800]


def test_a_bucket_fills_neither_memory_nor_the_disk(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_client = HubClient()
    hub_client.make_bucket()
    hub_client.change({"a": b"0123456789"})
    for first in (0, 4):
        found = hub_client.read("a", first=first, most=10 - first)
        assert found is not None
        assert found.data == b"0123456789"[first:]
    with pytest.raises(UserError, match="a is larger than"):
        hub_client.read("a", most=9)
    monkeypatch.setattr(client, "_KEPT_FREE", 2**62)
    with pytest.raises(OSError, match="No space left"):
        hub_client.download("a", tmp_path / "a")
    assert not (tmp_path / "a").exists()
