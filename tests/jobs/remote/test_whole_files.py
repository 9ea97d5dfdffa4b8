"""Files of a run stay whole: where the mount does not answer, and where a download is cut off."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from memshield.errors import UserError
from memshield.jobs.remote import container
from memshield.jobs.remote.client import HubClient, UnreachableError
from memshield.jobs.remote.live import fetch
from memshield.jobs.remote.submission import forget
from memshield.rundir import RunDir
from tests.hub_server import Fault, HubServer


def test_a_run_that_cannot_be_read_is_not_begun_anew_over_it(tmp_path: Path) -> None:
    mount, code = tmp_path / "mount", tmp_path / "code"
    (code / "configs").mkdir(parents=True)
    mount.mkdir()
    (mount / "live.json").write_text("")  # a mount that was cut off
    with pytest.raises(ValueError, match="Expecting value"):
        container.run(mount, code, "m", 0.05, None, {}, [sys.executable, "-c", ""])
    assert (mount / "live.json").read_text() == ""
    (mount / "live.json").unlink()
    (mount / "live.json").mkdir()  # it cannot be read at all
    with pytest.raises(OSError, match="Is a directory"):
        container.run(mount, code, "m", 0.05, None, {}, [sys.executable, "-c", ""])


def test_a_mount_that_does_not_answer_ends_no_training(tmp_path: Path) -> None:
    unanswered = tmp_path / ("x" * 300)
    with pytest.raises(OSError, match="too long"):
        (unanswered / container.STOP).exists()
    assert not container._is_asked_to_stop(unanswered)
    (tmp_path / container.STOP).touch()
    assert container._is_asked_to_stop(tmp_path)


def test_a_bucket_that_takes_everything_has_room(tmp_path: Path) -> None:
    run, mount = tmp_path / "run", tmp_path / "mount"
    run.mkdir()
    (run / "status.json").write_text("{}")
    mount.write_text("no folder")
    copy = container.Copy(run, mount, "m")
    copy.bring_up_to_date("small", b"")
    refused_at = copy.refused_since
    assert refused_at is not None
    mount.unlink()
    mount.mkdir()
    copy.bring_up_to_date("all", b"", ended=0)  # the last one, after which nothing is tried again
    assert copy.refused_since is None
    assert json.loads((mount / "live.json").read_text())["ended"] == 0


def test_what_a_long_copy_saw_at_its_start_is_not_told_of_small_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, mount = tmp_path / "run", tmp_path / "mount"
    mount.mkdir()
    (run / "checkpoint-1").mkdir(parents=True)
    (run / "checkpoint-1" / "a").write_text("1")
    events = run / "events.jsonl"
    events.write_text("{}\n")
    copy, copy_file = container.Copy(run, mount, "m"), container._copy_file

    def slowly(source: Path, target: Path) -> None:
        copy_file(source, target)
        if source.name == "a":
            with events.open("a") as file:
                file.write("{}\n")
            copy.bring_up_to_date("small", b"")

    monkeypatch.setattr(container, "_copy_file", slowly)
    copy.bring_up_to_date("folders", b"")
    listed = json.loads((mount / "live.json").read_text())["files"]
    assert set(listed) == {"checkpoint-1/a", "events.jsonl"}
    assert listed["events.jsonl"][0] == events.stat().st_size == 6
    # What is gone at the top is so at once, and no folder with it.
    events.unlink()
    copy.bring_up_to_date("small", b"")
    assert set(json.loads((mount / "live.json").read_text())["files"]) == {"checkpoint-1/a"}
    assert not (mount / "run" / "events.jsonl").exists()


def test_a_checkpoint_that_is_deleted_while_it_is_copied_takes_no_whole_one_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, mount = tmp_path / "run", tmp_path / "mount"
    mount.mkdir()

    def checkpoint(step: int) -> Path:
        folder = run / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        for name in ("checkpoint.json", "start.safetensors"):
            (folder / name).write_text(str(step))
        return folder

    copy, copy_file = container.Copy(run, mount, "m"), container._copy_file
    first = checkpoint(50)
    copy.bring_up_to_date("all", b"")
    shutil.rmtree(first)
    second = checkpoint(100)

    def rotate(source: Path, target: Path) -> None:
        copy_file(source, target)
        if source.parent == second and second.is_dir():
            shutil.rmtree(second)
            checkpoint(150)

    monkeypatch.setattr(container, "_copy_file", rotate)

    def listed() -> set[str]:
        return {
            name.partition("/")[0]
            for name in json.loads((mount / "live.json").read_text())["files"]
        }

    copy.bring_up_to_date("all", b"")
    assert listed() == {"checkpoint-50"}
    assert len(list((mount / "run/checkpoint-50").iterdir())) == 2
    copy.bring_up_to_date("all", b"")
    assert listed() == {"checkpoint-150"}
    assert not list((mount / "run").glob("checkpoint-50/*"))


@pytest.mark.process
def test_a_run_is_called_done_when_its_model_is_in_the_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "_LAST_COPY_SECONDS", 0.1)
    mount, code = tmp_path / "mount", tmp_path / "code"
    (code / "configs").mkdir(parents=True)
    (mount / "run").mkdir(parents=True)
    trains = """
import json, sys, time
from pathlib import Path
run, live = Path(sys.argv[1]), Path(sys.argv[2])
(run / "model").mkdir(exist_ok=True)
(run / "model" / "weights").write_bytes(b"w")
attempt = int(sys.argv[3])
(run / "status.json").write_text(json.dumps({"state": "done", "attempt": attempt}))
while not live.exists() or json.loads(live.read_bytes())["mark"] != sys.argv[4]:
    time.sleep(0.01)
time.sleep(0.3)
"""

    def works(number: int, program: str = trains) -> tuple[int, dict[str, Any]]:
        told = str(mount / "live.json")
        words = [sys.executable, "-c", program, "{run}", told, str(number), f"m{number}"]
        ended = container.run(mount, code, f"m{number}", 0.05, None, {}, words)
        return ended, json.loads((mount / "live.json").read_bytes())

    (mount / "run" / "model").write_text("no folder")  # nothing can be written below it
    ended, live = works(1)
    assert (ended, live["status"]["state"]) == (container.NO_ROOM, "running")
    (mount / "run" / "model").unlink()
    ended, live = works(2)
    assert (ended, live["status"]["state"]) == (0, "done")
    assert "model/weights" in live["files"]
    # What was told once is so while a task on the run works.
    looks = """
import json, sys, time
from pathlib import Path
while (found := json.loads(Path(sys.argv[2]).read_bytes()))["mark"] != sys.argv[4]:
    time.sleep(0.01)
Path(sys.argv[1], "found").write_text(found["status"]["state"])
"""
    works(3, looks)
    assert (mount / "run" / "found").read_text() == "done"


@pytest.mark.process
def test_a_download_goes_on_with_a_part_of_the_same_version_alone(
    hub: HubServer, tmp_path: Path
) -> None:
    client, target = HubClient(), tmp_path / "weights"
    client.make_bucket()
    client.change({"weights": b"0123456789"})
    (tmp_path / ".weights.2.part").write_bytes(b"01234")
    client.download("weights", target, "2")
    assert target.read_bytes() == b"0123456789"
    assert "range" in hub.requests[-1].headers or "range" in hub.requests[-2].headers
    (tmp_path / ".weights.2.part").write_bytes(b"01234")
    client.change({"weights": b"abcdefghij"})
    client.download("weights", target, "3")
    assert target.read_bytes() == b"abcdefghij"
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


@pytest.mark.process
def test_a_run_is_deleted_without_those_whose_names_begin_so(hub: HubServer) -> None:
    client = HubClient()
    client.make_bucket()
    client.change({"demo-abcdef/a": b"1", "demo-abcdef-ghijkm/a": b"1"})
    forget(client, "demo-abcdef")
    assert client.names("demo-abcdef") == []
    assert client.names("demo-abcdef-ghijkm") == ["demo-abcdef-ghijkm/a"]


@pytest.mark.process
def test_a_checkpoint_that_is_dropped_while_it_is_fetched_is_left_out(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, run = HubClient(), RunDir(tmp_path / "run")
    client.make_bucket()

    def live(*names: str) -> bytes:
        files = {name: [1, 10**9] for name in names}
        return json.dumps(
            {"time": 1.0, "mark": "m", "status": {"state": "running"}, "files": files}
        ).encode()

    first = [f"checkpoint-1/{letter}" for letter in "abc"]
    names = [*first, "checkpoint-2/a", "model/weights"]
    client.change({"r/live.json": live(*names), **{f"r/run/{name}": b"1" for name in names}})
    download = client.download

    def rotated(name: str, *others: Any) -> None:
        if name.endswith("checkpoint-1/b"):
            client.change({"r/live.json": live(*names[3:])}, [f"r/run/{one}" for one in first])
        download(name, *others)

    monkeypatch.setattr(client, "download", rotated)
    assert list(fetch(client, "r", run, {})) == ["checkpoint-1/a", *names[3:]]
    assert {path.name for path in run.path.iterdir()} == {"checkpoint-2", "model", "status.json"}
    # What is gone without a word is still an error.
    client.change(delete=["r/run/model/weights"])
    shutil.rmtree(run.model)
    with pytest.raises(UserError):
        list(fetch(client, "r", run, {}))


@pytest.mark.process
def test_a_busy_hub_costs_no_connection(hub: HubServer) -> None:
    client = HubClient()
    client.make_bucket()
    client.change({"small": b"1"})
    hub.fail(Fault("answer", path="/resolve/", times=None))
    for _ in range(110):  # more than there are connections
        with pytest.raises(UnreachableError):
            client.read("small")
    hub.clear_faults()
    answer = client.read("small")
    assert answer is not None and answer.data == b"1"


@pytest.mark.process
def test_a_token_that_may_not_write_to_the_bucket_is_told_so(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = HubClient()
    said = "Request error: HTTP status client error (403 Forbidden) for url"

    def refused(*_: Any, **__: Any) -> None:
        raise ConnectionError(said)

    monkeypatch.setattr(client.api, "batch_bucket_files", refused)
    with pytest.raises(UserError, match="may not write to the bucket ada/memshield-runs"):
        client.change({"a": b"1"})
    said = "connection reset"
    with pytest.raises(UserError, match=r"cannot be reached|no answer"):
        client.change({"a": b"1"})
