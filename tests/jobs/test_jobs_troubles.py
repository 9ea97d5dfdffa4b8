"""Trainings on Jobs where the Hub, the disk or an account fails for a while."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from memshield.config.file import make_config, to_yaml
from memshield.errors import UserError
from memshield.hub.account import Account
from memshield.jobs.backends import accounts, follower, hub_jobs
from memshield.jobs.backends.accounts import Accounts
from memshield.jobs.backends.follower import Asked, Follower
from memshield.jobs.backends.hub_jobs import HubJobs
from memshield.jobs.backends.seam import Look, Order
from memshield.jobs.records import UnansweredError
from memshield.jobs.remote import live, submission
from memshield.jobs.remote.client import HubClient, UnreachableError
from memshield.jobs.remote.live import LiveCopy
from memshield.jobs.remote.record import RunRecord
from memshield.jobs.remote.runs import find_runs
from memshield.jobs.told import Told, read_told, told_of
from memshield.network import TryAgainError
from memshield.rundir import RunDir
from tests.jobs.children import DEMO
from tests.jobs.made_up_hub import MadeUpHub, job, order

ID = "run-aaaaaa"


@pytest.fixture
def hub() -> MadeUpHub:
    """With a run that has a job."""
    made = MadeUpHub()
    record = RunRecord(
        id=ID, name="run", hardware="t4-small", image="python:3.11", seconds=3600, code="1",
        mark="mark",
    )  # fmt: skip
    made.files[f"{ID}/request.json"] = record.model_dump_json().encode()
    made.made = [job(ID, "mark")]
    write_live(made, "running")
    return made


def write_live(hub: MadeUpHub, state: str, model: bool = False) -> None:
    hub.files[f"{ID}/run/watch.json"] = b"{}"
    files = {"watch.json": [2, 1]}
    if model:
        hub.files[f"{ID}/run/model/weights"] = b"w"
        files["model/weights"] = [1, 1]
    told = {
        "time": time.time(), "mark": "mark", "status": {"state": state, "reason": ""},
        "files": files,
    }  # fmt: skip
    hub.files[f"{ID}/live.json"] = json.dumps(told).encode()


def finish(hub: MadeUpHub, model: bool = False) -> None:
    write_live(hub, "done", model)
    hub.made = [job(ID, "mark", "COMPLETED")]


def closely(hub: MadeUpHub) -> HubJobs:
    return HubJobs(hub.as_client(), None, 0.0, 0.0)


class Watched:
    """A task that is looked at without a thread."""

    def __init__(self, hub: MadeUpHub, folder: Path, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(follower, "HubClient", lambda token: hub)
        patch.setattr(follower, "_PAUSE", 0.0)
        patch.setattr(hub_jobs, "_SECONDS_A_RUN", 0.0)
        self.token: str | None = "hf_x"
        self.prices = {"t4-small": 0.4}
        self.follower = Follower(
            lambda: self.token, lambda: self.prices,
            lambda client, machine: HubJobs(client, machine, 0.0, 0.0),
        )  # fmt: skip
        self.asked = Asked(order(folder), 0.0)

    def look(self, count: int = 1) -> Look:
        for _ in range(count):
            found = self.follower.look_at(self.asked)
            if self.asked.bringing is not None:
                self.asked.bringing.join()
        return found

    @property
    def told(self) -> Told:
        assert self.asked.order.told is not None
        found = read_told(self.asked.order.told)
        assert found is not None
        return found


@pytest.fixture
def watched(hub: MadeUpHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(hub, tmp_path / "task", monkeypatch)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (UnreachableError("bucket", "the Hub answered 503"), "503"),
        (OSError(28, "No space left on device"), "No space left"),
    ],
)
def test_files_that_cannot_be_brought_now_are_brought_later(
    hub: MadeUpHub, watched: Watched, failure: Exception, words: str
) -> None:
    finish(hub)
    hub.fails["download"] = lambda: failure
    assert watched.look(20).runs
    assert "cannot be brought here yet" in watched.told.words
    assert words in watched.told.words
    hub.fails.clear()
    assert watched.look(3) == Look(False, 0)
    assert watched.asked.order.run.path.joinpath("watch.json").is_file()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("failure", [UserError("bucket", "gone"), ZeroDivisionError()])
def test_files_that_cannot_be_brought_at_all_end_it_with_a_problem(
    hub: MadeUpHub, watched: Watched, failure: Exception
) -> None:
    finish(hub)
    hub.fails["download"] = lambda: failure
    assert watched.look(4).runs
    found = watched.look(20)
    assert not found.runs
    assert "cannot be brought here" in str(found.problem)


def test_an_end_whose_last_words_do_not_arrive_at_once_is_no_loss(
    hub: MadeUpHub, watched: Watched
) -> None:
    assert watched.look().runs
    finish(hub)
    hub.fails["read"] = lambda: UnreachableError("bucket", "no answer")
    assert watched.look(3).runs
    hub.fails.clear()
    assert watched.look(3) == Look(False, 0)


def start_of(hub: MadeUpHub, folder: Path, patch: pytest.MonkeyPatch) -> Order:
    """Start a task anew; its order."""
    patch.setattr(accounts, "HubClient", lambda token: hub)
    patch.setattr(submission, "send_code", lambda client: "1")
    patch.setattr(hub_jobs, "send_code", lambda client: "2")
    there = order(folder)
    there.settings.write_text(to_yaml(make_config(DEMO)))
    Accounts(lambda owner: "hf_x", dict).start(there, "hf_x")
    return there


def test_a_start_without_an_answer_leaves_the_mark_by_which_it_is_found(
    hub: MadeUpHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.made = []
    record = hub.files[f"{ID}/request.json"]
    hub.files[f"{ID}/request.json"] = record.replace(b'"mark":"mark"', b'"mark":"before"')
    hub.fails["start"] = lambda: UnansweredError("submit", "no answer")
    with pytest.raises(UnansweredError):
        start_of(hub, tmp_path, monkeypatch)
    record_there = RunRecord.parse(hub.files[f"{ID}/request.json"], ID)
    assert record_there.mark == "mark"
    # Its settings are written anew, and code that was sent long ago may not know them all.
    assert record_there.code == "2"
    told = read_told(tmp_path / "told.json")
    assert told is not None
    assert "did not say whether" in told.words
    hub.fails["start"] = lambda: UserError("submit", "no credit")
    with pytest.raises(UserError, match="no credit"):
        start_of(hub, tmp_path, monkeypatch)
    told = read_told(tmp_path / "told.json")
    assert told is not None
    assert told.words == ""


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("no answer from the Hub (ReadTimeout)", UnansweredError),
        ("the Hub answered 503 to POST /api/jobs/ada", UnansweredError),
        ("the Hub answered 429 to POST /api/jobs/ada", UserError),
    ],
)
def test_a_silent_hub_may_have_started_a_job_and_a_busy_one_has_not(
    reason: str, kind: type[UserError]
) -> None:
    class Silent(HfApi):
        def run_job(self, **words: Any) -> Any:
            raise TryAgainError(reason)

    client = HubClient.__new__(HubClient)
    client.api, client.namespace = Silent(token=False), "ada"
    with pytest.raises(UserError) as found:
        client.start("i", ["c"], "t4-small", 60, {}, [], {})
    assert type(found.value) is kind


def test_a_run_that_a_job_works_on_is_not_started_twice(
    hub: MadeUpHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_of(hub, tmp_path, monkeypatch)  # it is there already
    assert "start" not in hub.asked
    hub.made = [job(ID, "another")]
    with pytest.raises(UserError, match=r"works on it already: https://hub/jobs/another"):
        start_of(hub, tmp_path, monkeypatch)
    assert "start" not in hub.asked


def test_a_token_that_may_start_nothing_is_refused_before_anything_is_sent(
    hub: MadeUpHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.made, hub.files = [], {}
    hub.account = Account("ada", (), rights={"ada": frozenset({"repo.write"})})
    with pytest.raises(UserError, match=r"lacks the right job\.write"):
        start_of(hub, tmp_path, monkeypatch)
    assert "change" not in hub.asked


def test_a_refused_start_leaves_what_is_known_of_the_earlier_one(tmp_path: Path) -> None:
    paths = [tmp_path / "1", tmp_path / "2"]
    Told("t4-small", url="https://hub/1", words="Stopped", dollars=1.0, checkpoint=7).write(
        paths[0]
    )
    Told("t4-small").write(paths[1])
    assert told_of(paths) == Told("t4-small", url="https://hub/1", dollars=1.0, checkpoint=7)


def test_a_wish_that_cannot_be_done_keeps_nobody_from_looking(
    hub: MadeUpHub, watched: Watched
) -> None:
    assert watched.look().runs
    watched.asked.wish, watched.asked.stopped = "kill", float("-inf")
    hub.fails["cancel"] = lambda: UserError("stop", "the Hub refused it")
    assert watched.look(2).runs
    assert watched.told.words == "the Hub refused it"
    finish(hub)
    assert watched.look(3) == Look(False, 0)


def test_what_has_ended_is_not_cancelled(hub: MadeUpHub, watched: Watched) -> None:
    finish(hub)
    assert watched.look().runs  # until its files are here
    watched.asked.wish = "kill"
    assert watched.look(3) == Look(False, 0)
    assert "cancel" not in hub.asked


def test_a_job_that_the_list_does_not_know_yet_runs(hub: MadeUpHub, tmp_path: Path) -> None:
    hub.made = []
    del hub.files[f"{ID}/live.json"]
    backend = closely(hub)
    backend.now = lambda: 1000.0
    young = order(tmp_path, begun=900.0)
    assert backend.look(young).runs
    backend.now = lambda: 1300.0
    assert not backend.look(young).runs
    # One whose container has written was listed: it was deleted.
    write_live(hub, "running")
    backend = closely(hub)
    backend.now = lambda: 1000.0
    assert not backend.look(young).runs


@pytest.mark.parametrize(("state", "looks"), [("preparing", 6), ("running", 3)])
def test_until_it_trains_it_is_looked_at_twice_as_often(
    hub: MadeUpHub, tmp_path: Path, state: str, looks: int
) -> None:
    write_live(hub, state)
    backend, seen = HubJobs(hub.as_client(), None, 4.0, 0.0), []
    for second in range(12):
        backend.now = lambda now=1000.0 + second: now  # type: ignore[misc]
        hub.asked.clear()
        backend.look(order(tmp_path))
        seen.append("read" in hub.asked)
    assert sum(seen) == looks


def test_another_account_is_told_whose_it_is(
    hub: MadeUpHub, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert watched.look().runs
    assert watched.told.account == "ada"
    monkeypatch.setattr(follower, "HubClient", lambda token: MadeUpHub("bob"))
    watched.token = "hf_bobs"
    assert watched.look().runs
    assert watched.told.remedy == "Sign in as ada to see it."


def test_nothing_is_begun_or_deleted_in_the_bucket_of_another_account(
    hub: MadeUpHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.made = []
    Told("t4-small", url="https://hub/jobs/1", account="ada").write(tmp_path / "task-1.json")
    # A start that was refused left nothing there.
    Told("t4-small", account="eve").write(tmp_path / "task-2.json")
    bobs = MadeUpHub("bob")
    with pytest.raises(UserError, match="in the bucket of ada, not of bob"):
        start_of(bobs, tmp_path, monkeypatch)
    with pytest.raises(UserError, match="in the bucket of ada, not of bob"):
        Accounts(lambda owner: "hf_x", dict).forget(order(tmp_path))
    assert bobs.files == {} and not bobs.asked
    start_of(hub, tmp_path, monkeypatch)
    assert "start" in hub.asked


@pytest.mark.parametrize("failing", ["jobs", "read"])
def test_a_first_look_that_fails_ends_nothing(hub: MadeUpHub, tmp_path: Path, failing: str) -> None:
    """A new server's, or one with another token: it knows nothing of the job yet."""
    backend = HubJobs(hub.as_client(), None, 4.0, 0.0)
    old = order(tmp_path, begun=0.0)
    backend.now = lambda: 4000.0
    backend._of(old)
    hub.fails[failing] = lambda: UnreachableError("bucket", "the Hub answered 503")
    assert backend.look(old).runs
    hub.fails.clear()
    backend.now = lambda: 4001.0
    assert backend.look(old).runs
    assert backend.unreachable_for(old) == 1.0
    backend.now = lambda: 4005.0
    assert backend.look(old).runs
    assert backend.unreachable_for(old) == 0.0


@pytest.mark.parametrize("failing", ["jobs", "read"])
def test_looks_that_fail_are_no_more_frequent(hub: MadeUpHub, tmp_path: Path, failing: str) -> None:
    backend = HubJobs(hub.as_client(), None, 4.0, 0.0)
    backend.now = lambda: 1000.0
    assert backend.look(order(tmp_path)).runs
    hub.fails[failing] = lambda: UnreachableError("bucket", "the Hub answered 429")
    hub.asked.clear()
    for half in range(24):
        backend.now = lambda now=1000.5 + half / 2: now  # type: ignore[misc]
        assert backend.look(order(tmp_path)).runs
    assert hub.asked.count(failing) == 3


def test_the_progress_of_an_audit_goes_with_it(hub: MadeUpHub, tmp_path: Path) -> None:
    copy = LiveCopy(hub.as_client(), ID, RunDir(tmp_path / "run"))
    shown = tmp_path / "run" / "audit-progress.json"
    hub.files[f"{ID}/run/audit-progress.json"] = b"{}"
    before = json.loads(hub.files[f"{ID}/live.json"])
    told = {**before, "files": {**before["files"], "audit-progress.json": [2, 1]}}
    hub.files[f"{ID}/live.json"] = json.dumps(told).encode()
    copy.bring_up_to_date()
    assert shown.exists()
    hub.files[f"{ID}/live.json"] = json.dumps(before).encode()
    copy.bring_up_to_date()
    assert not shown.exists()


def test_many_events_are_fetched_as_a_file(
    hub: MadeUpHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_MOST_BYTES", 8)
    written = json.loads(hub.files[f"{ID}/live.json"])
    copy = LiveCopy(hub.as_client(), ID, RunDir(tmp_path / "run"))
    for events, way in ((b"{}\n" * 5, "download"), (b"{}\n" * 7, "read")):
        hub.files[f"{ID}/run/events.jsonl"] = events
        written["files"]["events.jsonl"] = [len(events), len(events)]
        hub.files[f"{ID}/live.json"] = json.dumps(written).encode()
        hub.asked.clear()
        copy.bring_up_to_date()
        assert (tmp_path / "run" / "events.jsonl").read_bytes() == events
        assert ("download" in hub.asked) == (way == "download")


def test_what_was_stopped_elsewhere_is_not_done(hub: MadeUpHub, watched: Watched) -> None:
    assert watched.look().runs
    write_live(hub, "stopped")
    hub.made = [job(ID, "mark", "COMPLETED")]
    assert watched.look(3) == Look(False, 0, stopped=True)


def test_without_prices_what_is_known_of_the_cost_stays(hub: MadeUpHub, watched: Watched) -> None:
    assert watched.look().runs
    assert (watched.told.dollars, watched.told.most) == (0.4, 0.4)
    watched.prices = {}
    assert watched.look().runs
    assert (watched.told.dollars, watched.told.most) == (0.4, 0.4)


@pytest.mark.parametrize(("found", "model"), [(False, True), (True, True), (False, False)])
def test_copies_of_pictures_are_deleted_by_whoever_sent_them(
    hub: MadeUpHub, watched: Watched, tmp_path: Path, found: bool, model: bool
) -> None:
    hub.files[f"{ID}/inputs/a.png"] = b""
    watched.asked.order = order(tmp_path / "task", found=found)
    finish(hub, model)
    assert watched.look(3) == Look(False, 0)
    # Without its model it is trained again, and needs them.
    assert (f"{ID}/inputs/a.png" in hub.files) == (found or not model)


def test_who_signs_out_leaves_no_token(watched: Watched) -> None:
    assert watched.look().runs
    assert watched.follower._backend_token == "hf_x"
    watched.token = None
    assert watched.look().runs
    assert watched.follower._backend is None
    assert watched.follower._backend_token is None


def test_files_that_never_come_end_with_the_task_that_is_stopped(
    hub: MadeUpHub, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "_PAUSE", 60.0)
    finish(hub)
    hub.fails["download"] = lambda: OSError(28, "No space left on device")
    assert watched.look(5).runs
    watched.asked.wish = "kill"
    assert "No space left" in str(watched.look(2).problem)


def test_runs_are_found_by_their_trainings_and_a_bad_one_hides_no_other(
    hub: MadeUpHub, caplog: pytest.LogCaptureFixture
) -> None:
    settings = to_yaml(make_config(DEMO)).encode()
    names = [f"run-aaaaa{letter}" for letter in "abcdef"]
    for name in names:
        hub.files[f"{name}/request.json"] = hub.files[f"{ID}/request.json"]
        hub.files[f"{name}/settings.yaml"] = settings
    hub.files[f"{names[1]}/request.json"] = b"{}"
    hub.files[f"{names[2]}/settings.yaml"] = b"a: [1"
    hub.files[f"{names[3]}/settings.yaml"] = b""
    hub.files[f"{names[4]}/settings.yaml"] = b"\xff\x00"
    hub.made = [job(name, "train", "COMPLETED") for name in names]
    hub.made[1] = job(names[1], "train")  # is paid for
    hub.made.insert(0, job(ID, "audit", kind="audit"))
    found = list(find_runs(hub.as_client(), 1001.0))
    assert [one.place.mark for one in found] == ["train"] * 3
    assert [one.place.seconds for one in found] == [3600, 0, 3600]
    assert all(name in caplog.text for name in names[1:5])


def test_a_training_that_was_audited_since_is_done(hub: MadeUpHub, tmp_path: Path) -> None:
    finish(hub)
    audited = hub.files[f"{ID}/live.json"].replace(b'"mark": "mark"', b'"mark": "audit"')
    hub.files[f"{ID}/live.json"] = audited
    hub.made.insert(0, job(ID, "audit", "COMPLETED", kind="audit"))
    assert closely(hub).look(order(tmp_path)) == Look(False, 0)


def test_a_run_that_this_disk_cannot_take_is_not_begun_to_be_fetched(
    hub: MadeUpHub, watched: Watched
) -> None:
    finish(hub)
    told = json.loads(hub.files[f"{ID}/live.json"])
    told["files"]["model/weights"] = [2**60, 1]
    hub.files[f"{ID}/live.json"] = json.dumps(told).encode()
    assert watched.look(20).runs
    assert "are free" in watched.told.words
    assert "download" not in hub.asked
