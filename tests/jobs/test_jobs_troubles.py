"""Trainings on Jobs where the Hub, the disk or an account fails for a while."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from memshield.errors import UserError
from memshield.jobs.backends import accounts
from memshield.jobs.backends.hub_jobs import HubJobs
from memshield.jobs.backends.seam import Look
from memshield.jobs.remote.client import UnreachableError
from memshield.jobs.remote.record import RunRecord
from memshield.jobs.told import Told, read_told
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


def write_live(hub: MadeUpHub, state: str) -> None:
    hub.files[f"{ID}/run/watch.json"] = b"{}"
    live = {
        "time": time.time(), "mark": "mark", "status": {"state": state, "reason": ""},
        "files": {"watch.json": [2, 1]},
    }  # fmt: skip
    hub.files[f"{ID}/live.json"] = json.dumps(live).encode()


def finish(hub: MadeUpHub) -> None:
    write_live(hub, "done")
    hub.made = [job(ID, "mark", "COMPLETED")]


def closely(hub: MadeUpHub) -> HubJobs:
    return HubJobs(hub.as_client(), None, 0.0, 0.0)


class Watched:
    """A task that is looked at without a thread."""

    def __init__(self, hub: MadeUpHub, folder: Path, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(accounts, "HubClient", lambda token: hub)
        patch.setattr(accounts, "_PAUSE", 0.0)
        self.token: str | None = "hf_x"
        self.prices = {"t4-small": 0.4}
        self.follower = accounts._Follower(
            lambda: self.token, lambda: self.prices,
            lambda client, machine: HubJobs(client, machine, 0.0, 0.0),
        )  # fmt: skip
        self.asked = accounts._Asked(order(folder), 0.0)

    def look(self, count: int = 1) -> Look:
        for _ in range(count):
            found = self.follower._look_at(self.asked)
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
