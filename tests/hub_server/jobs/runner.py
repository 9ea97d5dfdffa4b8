"""All jobs of a Hub: which may start, and what their containers hold."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.hub_server.access import require_content, visible_repo
from tests.hub_server.environment import child_environment
from tests.hub_server.flavours import DOLLARS_A_MINUTE
from tests.hub_server.jobs.job import Job, python_path
from tests.hub_server.messages import HubError

if TYPE_CHECKING:
    from tests.hub_server.call import Call

BROKEN_IMAGE = "broken/image"
_OWN = ("PATH", "HOME", "LANG", "LC_ALL", "OMP_NUM_THREADS", "LD_LIBRARY_PATH")


class JobRunner:
    """Starts jobs and knows them.

    Attributes:
        cancel_grace: seconds between SIGTERM and SIGKILL of a job that is cancelled.
        without_credit: namespaces that cannot pay.
        full: flavours that no machine is free of: their jobs wait.
    """

    def __init__(self, root: Path) -> None:
        self.cancel_grace = 0.0
        self.without_credit: set[str] = set()
        self.full: set[str] = set()
        self._root = root
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}

    def start(self, call: Call, owner: str, spec: Mapping[str, Any]) -> Job:
        """Start a job, or refuse it."""
        if owner in self.without_credit:
            raise HubError(402, "Payment required: you have no pre-paid credits for Jobs")
        if spec["flavor"] not in DOLLARS_A_MINUTE:
            raise HubError(400, f"flavor {spec['flavor']!r} does not exist")
        id = secrets.token_hex(12)
        container = self._root / id
        container.mkdir()
        mounts = {}
        for volume in spec.get("volumes") or ():
            place = container / str(volume["mountPath"]).lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            self._mount(call, volume, place)
            mounts[str(volume["mountPath"])] = str(place)
        # What a container that is killed leaves is gone with it.
        home, temporary = container / "home", container / "tmp"
        home.mkdir()
        temporary.mkdir()
        base = {name: os.environ[name] for name in _OWN if name in os.environ}
        environment = {
            **child_environment(base, call.hub.endpoint, home / "huggingface", None),
            "PATH": python_path(),
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "JOB_ID": id,
            **{name: _here(str(value), mounts) for name, value in spec["environment"].items()},
            **(spec.get("secrets") or {}),
        }
        words = [_here(word, mounts) for word in (*spec["command"], *spec.get("arguments", ()))]
        job = Job(id, owner, spec, words, environment, home)
        with self._lock:
            self._jobs[id] = job
        if spec.get("dockerImage") == BROKEN_IMAGE:
            job.fail("Failed to pull the image: not found")
        elif spec["flavor"] not in self.full:
            job.start()
        return job

    def get(self, owner: str, id: str) -> Job | None:
        job = self._jobs.get(id)
        return job if job is not None and job.owner == owner else None

    def of(self, owner: str) -> list[Job]:
        """The jobs of a namespace, newest first."""
        with self._lock:
            return [job for job in reversed(self._jobs.values()) if job.owner == owner]

    def forget(self, id: str) -> None:
        """Delete a job, as its owner can on the website."""
        job = self._jobs.pop(id)
        job.end("DELETED")

    def close(self) -> None:
        """End all of them."""
        for job in self._jobs.values():
            job.end("CANCELED")
            job.wait()

    def _mount(self, call: Call, volume: Mapping[str, Any], place: Path) -> None:
        if volume["type"] == "bucket":
            bucket = call.hub.buckets.get(volume["source"])
            mine = bucket and call.identity is not None and call.identity.owns(bucket.owner)
            if bucket is None or (bucket.private and not mine):
                raise HubError(404, "Bucket not found", "RepoNotFound")
            folder = bucket.folder / (volume.get("path") or "")
            if not folder.is_dir():
                raise HubError(400, f"there is no folder {volume.get('path')!r} in the bucket")
            if volume.get("readOnly"):
                shutil.copytree(folder, place)  # whatever is written does not reach the bucket
            else:
                place.symlink_to(folder)
            return
        repo = visible_repo(call.hub.store, volume["type"], volume["source"], call.identity)
        require_content(repo, call.identity)
        for name, blob in repo.commit(volume.get("revision") or "main").files.items():
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(bytes(blob.data))


def _here(text: str, mounts: Mapping[str, str]) -> str:
    """A text of a container with the paths that its volumes have on this machine."""
    for path in sorted(mounts, key=len, reverse=True):
        text = text.replace(path, mounts[path])
    return text
