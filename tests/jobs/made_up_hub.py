"""The Jobs and the bucket of an account in memory, which fail when a test wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from memshield.hub.account import Account
from memshield.jobs.backends.seam import Begun, Order
from memshield.jobs.records import Place, Work
from memshield.jobs.remote.client import Answer, HubClient, RemoteJob
from memshield.rundir import RunDir


class MadeUpHub:
    """What `HubClient` is asked for.

    Attributes:
        files: of the bucket.
        made: jobs, newest first.
        fails: raises what a request is to fail with, by the request's name.
        asked: names of requests.
    """

    bucket, namespace = "ada/memshield-runs", "ada"

    def __init__(self, name: str = "ada") -> None:
        self.account = Account(name, ())
        self.files: dict[str, bytes] = {}
        self.made: list[RemoteJob] = []
        self.fails: dict[str, Callable[[], Exception]] = {}
        self.asked: list[str] = []

    def as_client(self) -> HubClient:
        return cast(HubClient, self)

    def _note(self, name: str) -> None:
        self.asked.append(name)
        if name in self.fails:
            raise self.fails[name]()

    def read(
        self, name: str, etag: str | None = None, first: int = 0, most: int = 0
    ) -> Answer | None:
        self._note("read")
        return Answer(self.files[name][first:], None) if name in self.files else None

    def download(self, name: str, target: Path, version: str | None = None) -> None:
        self._note("download")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.files[name])

    def names(self, folder: str) -> list[str]:
        return [name for name in self.files if name.startswith(f"{folder}/")]

    def change(
        self, add: Mapping[str, Path | bytes] | None = None, delete: Iterable[str] = ()
    ) -> None:
        self._note("change")
        for name, data in (add or {}).items():
            self.files[name] = data if isinstance(data, bytes) else data.read_bytes()
        for name in delete:
            self.files.pop(name, None)

    def make_bucket(self) -> None:
        self._note("make_bucket")

    def jobs(self, run: str | None = None, active: bool = False) -> list[RemoteJob]:
        self._note("jobs")
        return [
            one for one in self.made
            if (run is None or one.run == run) and (one.is_active or not active)
        ]  # fmt: skip

    def inspect(self, id: str) -> RemoteJob | None:
        self._note("inspect")
        return next((one for one in self.made if one.id == id), None)

    def cancel(self, id: str) -> None:
        self._note("cancel")
        self.made = [replace(one, stage="CANCELED") if one.id == id else one for one in self.made]

    def start(self, *words: Any) -> RemoteJob:
        self._note("start")
        labels = words[4]
        self.made.insert(0, job(labels["memshield-run"], labels["memshield-task"]))
        return self.made[0]


def job(run: str, mark: str, stage: str = "RUNNING", **changes: Any) -> RemoteJob:
    """A job of a run."""
    made = RemoteJob(
        "id-" + mark, "https://hub/jobs/" + mark, run, "run", mark, stage, "", "t4-small",
        1000.0, 1000.0, 3600.0,
    )  # fmt: skip
    return replace(made, **changes)


def order(folder: Path, id: str = "run-aaaaaa", begun: float | None = None, **place: Any) -> Order:
    """A training's task with the mark `mark`."""
    folder.mkdir(exist_ok=True)
    work = Work("train", (), place=Place("t4-small", 3600, id, **place))
    return Order(
        "mark", "ada", work, RunDir(folder / "run"), folder / "settings.yaml",
        folder / "output.log", begun=None if begun is None else Begun(begun),
        told=folder / "told.json",
    )  # fmt: skip
