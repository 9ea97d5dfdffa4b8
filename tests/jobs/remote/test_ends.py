"""How trainings on Jobs end: each way has its words, nothing is lost, nothing is billed unseen."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from memshield.__main__ import main
from memshield.errors import UserError
from memshield.jobs.remote.client import RemoteJob
from memshield.jobs.remote.container import NO_ROOM
from memshield.jobs.remote.live import Live
from memshield.jobs.remote.states import ORPHAN_SECONDS, state_of
from memshield.jobs.terminal.follow import follow
from memshield.jobs.terminal.shared import open_run
from tests.hub_server import Fault, HubServer
from tests.jobs.remote.runs import (
    ENDS,
    PRETENDS,
    TRAINED,
    WAITS,
    assert_nowhere,
    job_of,
    live_of,
    pretend,
    submit,
    trains,
    until,
)

pytestmark = pytest.mark.process
Said = pytest.CaptureFixture[str]


def fails(capsys: Said, *words: str) -> str:
    assert main(words) == 2
    return capsys.readouterr().err


def test_cancelled_on_the_website(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, WAITS)
    id = submit(capsys, tmp_path, "--detach")
    until(lambda: trains(hub, id))
    assert "a job works on it" in fails(capsys, "resume", id, "--yes")
    job_of(hub, id).end("CANCELED")
    hub.jobs.without_credit.add("ada")
    dearer = ("resume", id, "--yes", "--hardware", "cpu-upgrade")
    assert "no credit for Jobs" in fails(capsys, *dearer)
    with open_run(id) as run:  # a later start does not take the dearer hardware
        assert run.record.hardware == "cpu-basic"
    assert main(["follow", id]) == 1  # still of the job that was there
    said = capsys.readouterr()
    assert "Cancelled on the Hub before it had saved" in said.out
    assert f"resume {id}" in said.out


def test_deleted_on_the_website(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, WAITS)
    id = submit(capsys, tmp_path, "--detach")
    until(lambda: trains(hub, id))
    hub.jobs.forget(job_of(hub, id).id)
    assert main(["follow", id]) == 1
    assert "Its job was deleted on the Hub" in capsys.readouterr().out
    # What was written is there, and goes on.
    assert live_of(hub, id) is not None
    pretend(monkeypatch, ENDS)
    assert main(["resume", id, "--yes", "--detach"]) == 0


def test_what_was_done_before_its_job_was_deleted_is_done(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, TRAINED)
    id = submit(capsys, tmp_path)
    hub.jobs.forget(job_of(hub, id).id)
    assert main(["follow", id]) == 0
    assert "deleted" not in capsys.readouterr().out


def test_two_follow_one_run_and_ctrl_c_leaves_it(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, WAITS)
    id = submit(capsys, tmp_path, "--detach")
    until(lambda: trains(hub, id))
    looks = []

    def interrupted(seconds: float) -> None:
        looks.append(seconds)
        time.sleep(0.15)
        if len(looks) > 3:
            raise KeyboardInterrupt

    with open_run(id) as one, open_run(id) as other:
        assert one.backend.look(one.order).runs
        assert follow(other, interrupted) == 0
        # The status also says when it was written last, and time goes by between two looks.
        assert [run.order.run.read_status()["step"] for run in (one, other)] == [3, 3]
    said = capsys.readouterr()
    assert f"follow {id}" in said.out
    assert "3/10" in said.err
    assert job_of(hub, id).stage == "RUNNING"
    assert main(["stop", id]) == 0
    live = live_of(hub, id)
    assert live is not None
    assert "checkpoint-3/weights" in live.files


def test_the_hub_is_out_of_reach_while_the_job_goes_on(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, WAITS)
    id = submit(capsys, tmp_path, "--detach")
    until(lambda: trains(hub, id))
    with open_run(id) as run:
        now = time.time()
        run.backend.now = lambda: now
        assert run.backend.look(run.order).runs
        hub.fail(Fault("answer", path="/api/jobs/", times=None))
        now += 60
        assert run.backend.look(run.order).runs
        now += 3600
        assert run.backend.look(run.order).runs
        assert run.backend.unreachable_for(run.order) == 3600
        hub.clear_faults()
        now += 1
        job_of(hub, id).end("ERROR", "Node was evicted")
        assert not run.backend.look(run.order).runs
        assert run.backend.unreachable_for(run.order) == 0
        state = run.backend.state(run.order)
    assert state.name == "killed"
    assert "Node was evicted" in state.words


def test_what_is_refused_starts_nothing(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = ["submit", "--config", "configs/demo.yaml", "--output_dir", str(tmp_path / "demo")]
    before = len(hub.jobs.of("ada"))
    assert "the Hub has no 'quantum'" in fails(capsys, *demo, "--hardware", "quantum", "--yes")
    demo += ["--hardware", "cpu-basic"]
    assert "there is no terminal" in fails(capsys, *demo)
    assert "--timeout: 'soon' is no time" in fails(capsys, *demo, "--timeout", "soon")
    too_short = fails(capsys, *demo, "--timeout", "30s")
    assert "--timeout: 30s is too short" in too_short
    assert "Give 15m or more" in too_short
    demo += ["--yes"]
    wrong = ["--mixed_precision", "fp16", "--num_shards", "900", "--report_to", "wandb"]
    found = fails(capsys, *demo, *wrong)
    assert all(word in found for word in ("fp16 needs a GPU", "num_shards", "wandb needs a key"))
    # In words that a page shows as well.
    hub.jobs.without_credit.add("ada")
    assert fails(capsys, *demo).startswith("Jobs: the account has no credit for Jobs")
    hub.jobs.without_credit.clear()
    hub.fail(Fault("answer", method="POST", path="/api/jobs/ada", status=403, message="no scope"))
    assert fails(capsys, *demo).startswith("token: it may not start Jobs: no scope")
    hub.fail(Fault("answer", method="POST", path="/api/jobs/ada", status=429))
    quota = fails(capsys, *demo)
    assert quota.startswith("Jobs: the account's quota of them is reached")
    assert "memshield" not in quota
    assert len(hub.jobs.of("ada")) == before
    # Nothing stays in the bucket that nobody would come for.
    bucket = hub.buckets.get("ada/memshield-runs")
    assert bucket is not None
    kept = {path.relative_to(bucket.folder).parts[0] for path in bucket.files()}
    assert not any(name.startswith("demo-") for name in kept)
    # A job whose start was not answered is there, and needs what was sent.
    hub.fail(Fault("cut_answer", method="POST", path="/api/jobs/ada"))
    assert "whether the job was started is not known" in fails(capsys, *demo)
    assert len(hub.jobs.of("ada")) == before + 1
    assert bucket.files(job_id := hub.jobs.of("ada")[0].spec["labels"]["memshield-run"])
    assert main(["runs"]) == 0
    assert job_id in capsys.readouterr().out


def test_what_the_account_may_and_can_is_said_before_anything_is_sent(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = ["submit", "--config", "configs/demo.yaml", "--output_dir", str(tmp_path / "demo")]
    demo += ["--hardware", "cpu-basic"]
    hub.jobs.without_credit.add("ada")
    monkeypatch.setattr("memshield.jobs.terminal.submit.confirm", lambda *words: False)
    assert main(demo) == 1
    assert "the Hub knows no way for ada to pay" in capsys.readouterr().out
    hub.jobs.without_credit.clear()
    assert main(demo) == 1
    assert "to pay" not in capsys.readouterr().out
    hub.add_token("ada", "hf_few", permissions=["repo.write"])
    hub.add_token("ada", "hf_enough", permissions=["repo.write", "job.write"])
    monkeypatch.setenv("HF_TOKEN", "hf_enough")
    assert main(demo) == 1
    monkeypatch.setenv("HF_TOKEN", "hf_few")
    assert "may not start Jobs of ada: it lacks the right job.write" in fails(capsys, *demo)


def test_an_image_that_does_not_start_and_hardware_that_is_full(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = submit(capsys, tmp_path, "--detach", "--image", "broken/image")
    assert main(["follow", id]) == 1
    assert "could not be started: Failed to pull the image" in capsys.readouterr().out
    hub.jobs.full.add("t4-small")
    id = submit(capsys, tmp_path, "--detach", "--hardware", "t4-small")
    assert main(["runs", "--folder", str(tmp_path / "none")]) == 0
    assert "Waiting for t4-small" in capsys.readouterr().out
    assert main(["stop", id]) == 0  # nothing to save
    assert job_of(hub, id).stage == "CANCELED"


def test_the_time_limit_is_met_with_a_checkpoint(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = """
from memshield.training.interruption import StopRequest
from memshield.training import time_limit
request = StopRequest()
signal.signal(signal.SIGTERM, stop)
at = float(os.environ[time_limit.STOP_AT])
assert 700 < at - time.time() < 751, at - time.time()
os.environ[time_limit.STOP_AT] = str(time.time() + 0.5)
time_limit.heed_time_limit(request)
time.sleep(60)
"""
    pretend(monkeypatch, PRETENDS.format(body=own))
    id = submit(capsys, tmp_path, "--timeout", "15m")
    live = live_of(hub, id)
    assert live is not None
    assert live.status["state"] == "stopped"
    assert "checkpoint-3/weights" in live.files
    assert job_of(hub, id).stage == "COMPLETED"


def test_a_job_that_is_killed_leaves_its_last_copy(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = "run.checkpoint(3).mkdir(); (run.checkpoint(3) / 'weights').write_bytes(b'w' * 9)\n"
    pretend(monkeypatch, PRETENDS.format(body=saves + "time.sleep(600)"))
    id = submit(capsys, tmp_path, "--detach")
    until(lambda: (live := live_of(hub, id)) and "checkpoint-3/weights" in live.files)
    job_of(hub, id).end("ERROR", "Job timeout")
    assert main(["follow", id]) == 1
    assert "The time limit ended it before it had saved" in capsys.readouterr().out
    # The next job finds the checkpoint, and not what was copied halfway.
    bucket = hub.buckets.get("ada/memshield-runs")
    assert bucket is not None
    half = bucket.path(f"{id}/run/checkpoint-6/weights")
    half.parent.mkdir()
    half.write_bytes(b"half")
    finds = "print(run.checkpoints(), (run.checkpoint(3) / 'weights').read_bytes(), flush=True)\n"
    pretend(monkeypatch, PRETENDS.format(body=finds + "status.set('done')"))
    assert main(["resume", id, "--yes"]) == 0
    printed = [text for _, text in job_of(hub, id).log]
    assert f"[3] {b'w' * 9!r}" in printed


def test_orphans_are_found_by_label_and_offered_to_be_stopped(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, WAITS)
    id = submit(capsys, tmp_path, "--detach")
    until(lambda: trains(hub, id))
    bucket = hub.buckets.get("ada/memshield-runs")
    assert bucket is not None
    bucket.path(f"{id}/request.json").unlink()
    runs = ["runs", "--folder", str(tmp_path / "none")]
    assert main(runs) == 0
    said = capsys.readouterr().out
    assert "its folder in the bucket is gone" in said
    assert "--stop_orphans" in said
    assert job_of(hub, id).stage == "RUNNING"
    # Nor is it hidden by a run of which nothing can be read.
    hub.jobs.full.add("t4-small")
    odd = submit(capsys, tmp_path, "--detach", "--hardware", "t4-small")
    bucket.path(f"{odd}/live.json").write_bytes(b" " * (9 * 2**20))
    assert main([*runs, "--stop_orphans", "--yes"]) == 0
    assert "cannot be read: " in capsys.readouterr().out
    assert job_of(hub, id).stage == "CANCELED"


def test_no_token_left_the_authorization_header(
    hub: HubServer, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, ENDS)
    submit(capsys, tmp_path)
    assert_nowhere(hub)  # in all that the tests before this one sent, too


def job(stage: str, message: str = "", started: float | None = 0.0, **changes: Any) -> RemoteJob:
    values = {
        "id": "1", "url": "", "run": "r", "name": "r", "mark": "r.1", "stage": stage,
        "message": message, "hardware": "l4x1", "created": 0.0, "started": started, "seconds": 0.0,
    }  # fmt: skip
    return RemoteJob(**{**values, **changes})


ENDED = {code: Live(1, "r.1", {"state": "done"}, {}, code) for code in (0, 1, -9, -15)}


@pytest.mark.parametrize(
    ("found", "live", "now", "name", "orphan"),
    [
        (job("SCHEDULING", started=None), None, 10, "waiting", False),
        (job("RUNNING"), None, 10, "starting", False),
        (job("RUNNING"), None, ORPHAN_SECONDS + 1, "silent", True),
        (job("RUNNING"), Live(500.0, "r.1"), 630, "silent", False),
        (job("RUNNING"), Live(500.0, "r.1"), 501 + ORPHAN_SECONDS, "silent", True),
        (job("RUNNING"), Live(500.0, "r.0", {"state": "stopped"}), 501, "starting", False),
        (job("RUNNING"), Live(500.0, "r.1", {"state": "running"}), 501, "running", False),
        (
            job("ERROR", f"Job failed with exit code: {NO_ROOM}"),
            Live(1, "r.1"),
            2,
            "bucket_full",
            False,
        ),
        (job("ERROR", "Job failed with exit code: 1"), None, 2, "failed", False),
        (job("COMPLETED"), None, 2, "lost", False),
        (job("COMPLETED"), Live(1, "r.1", {"state": "done"}), 2, "done", False),
        (None, None, 2, "deleted", False),
        # A task on a run that is done: its own end counts.
        (job("RUNNING", kind="audit"), Live(1, "r.1", {"state": "done"}), 2, "running", False),
        (job("COMPLETED", kind="audit"), ENDED[0], 2, "done", False),
        (job("ERROR", "exit code: 1", kind="audit"), ENDED[1], 2, "failed", False),
        (job("ERROR", "exit code: 247", kind="audit"), ENDED[-9], 2, "killed", False),
        (job("COMPLETED", kind="audit"), ENDED[-15], 2, "stopped", False),
        (job("ERROR", "Job timeout", kind="audit"), None, 2, "timed_out", False),
    ],
)
def test_states(
    found: RemoteJob | None, live: Live | None, now: float, name: str, orphan: bool
) -> None:
    state = state_of(found, live, now)
    assert (state.name, state.orphan) == (name, orphan)


def test_waiting_long_says_that_it_costs_nothing() -> None:
    state = state_of(job("SCHEDULING", started=None), None, 1200)
    assert "waits for 20 minutes, which costs nothing" in state.words


def test_an_id_that_is_none(hub: HubServer) -> None:
    with pytest.raises(UserError, match="is no id of a run"), open_run("../x"):
        pass
    with pytest.raises(UserError, match="there is no run"), open_run("mine-abcdef"):
        pass
