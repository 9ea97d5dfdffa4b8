"""What was submitted, as it lies beside the run in the bucket: enough to start the next job."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from memshield.errors import UserError
from memshield.jobs.folders import name_from

REQUEST = "request.json"
SETTINGS = "settings.yaml"
MOST_BYTES = 2**20
"""Of each of them: a bucket is its owner's, who may write anything there."""
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,50}-[a-z0-9]{6}")


class RunRecord(BaseModel):
    """A run on Jobs.

    Attributes:
        id: name of its folder in the bucket.
        name: for people.
        hardware, image, seconds: of its jobs.
        code: version of the code, a folder in the bucket.
        flags: settings whose values differ in the container.
        meant: the values that they stand for.
        volumes: read-only, as the Hub takes them.
        links: from names in the container to paths of volumes.
        needs_token: whether its jobs are given a token as a secret.
        publishes: repository that the settings name to publish to; that is done from here.
        processes: of the training.
        jobs: how many were started.
        mark: of the task that the newest of them is; see `backends.seam.Order`.
        started: when that was asked for, in seconds since the epoch; 0 where it is not known.
    """

    model_config = ConfigDict(extra="ignore")

    v: int = 1
    id: str
    name: str
    hardware: str
    image: str
    seconds: int
    code: str
    flags: dict[str, str] = {}
    meant: dict[str, Any] = {}
    volumes: list[dict[str, Any]] = []
    links: dict[str, str] = {}
    needs_token: bool = False
    publishes: str | None = None
    processes: int = 1
    jobs: int = 0
    mark: str = ""
    started: float = 0.0

    @classmethod
    def parse(cls, data: bytes, id: str) -> RunRecord:
        """From the bucket, where anything may have been written.

        Args:
            data: of the file.
            id: of the run that it was asked for.

        Raises:
            UserError: it is of another version.
        """
        try:
            found = cls.model_validate_json(data)
        except ValidationError:
            raise UserError(
                "run", f"the record of {id} is of another version of MemShield",
                "Use the version that submitted it.",
            ) from None  # fmt: skip
        return found.model_copy(update={"id": id, "name": name_from(found.name)})


def new_id(name: str) -> str:
    """An id for a run of this name, which no other has."""
    alphabet = "abcdefghijkmnpqrstuvwxyz23456789"
    return f"{name[:50].strip('-')}-{''.join(secrets.choice(alphabet) for _ in range(6))}"


def id_of(mark: str, name: str) -> str:
    """The id of the run that a task belongs to.

    Args:
        mark: of the task; see `backends.seam.Order`.
        name: of the run.
    """
    job = mark.rpartition(":")[0]
    if _ID.fullmatch(job):
        return job
    return f"{name[:50].strip('-')}-{hashlib.sha256(job.encode()).hexdigest()[:6]}"


def is_run_id(text: str) -> bool:
    """Whether a text has the form of an id."""
    return _ID.fullmatch(text) is not None


def require_run_id(text: str) -> str:
    """A run's id as a person types it.

    Raises:
        UserError: it is none.
    """
    if not is_run_id(text):
        raise UserError(
            "run", f"{text[:60]!r} is no id of a run on Jobs",
            "`python -m memshield runs` lists them.",
        )  # fmt: skip
    return text
