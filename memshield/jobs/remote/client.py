"""Jobs and buckets of an account: every request to the Hub that trainings on Jobs make."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from glob import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from httpx2 import TransportError
from huggingface_hub import HfApi, JobInfo, Volume, get_session
from huggingface_hub.errors import BucketNotFoundError, HfHubHTTPError
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]
from huggingface_hub.utils.tqdm import disable_progress_bars

from memshield.errors import UserError
from memshield.hub.account import account_of, api_for
from memshield.hub.session import steady_session
from memshield.jobs.records import UnansweredError
from memshield.jobs.remote.refusals import refusal, too_many
from memshield.network import Token, TryAgainError, asking
from memshield.quantities import size

BUCKET = "memshield-runs"
LABEL, RUN_LABEL, MARK_LABEL, NAME_LABEL = "memshield", "memshield-run", "memshield-task", "name"
KIND_LABEL = "memshield-kind"
_NOT_ALLOWED = re.compile(r"status client error \((401|403|404)\b")
"""In the words of the library that uploads, of an answer that passes for silence."""
_SILENCE = 20.0
_CHUNK = 2**20
_MOST_BYTES = 64 * 2**20
"""Of what is read into memory."""
_KEPT_FREE = 64 * 2**20
"""Bytes of this disk that no download takes."""


@dataclass(frozen=True)
class RemoteJob:
    """A job as the Hub tells of it.

    Attributes:
        id, url: of the job.
        run: id of the run that it trains.
        name: of the run, for people.
        mark: of the task.
        stage: the Hub's word for its state.
        message: the Hub's words beside it.
        hardware: that it asks for.
        created, started: in seconds since the epoch; started is None while it waits.
        seconds: for which it ran so far.
        kind: of its task: train, audit, compare or sample.
    """

    id: str
    url: str
    run: str
    name: str
    mark: str
    stage: str
    message: str
    hardware: str
    created: float
    started: float | None
    seconds: float
    kind: str = "train"

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.stage in ("SCHEDULING", "RUNNING")

    @classmethod
    def of(cls, info: JobInfo) -> RemoteJob:
        """From the client's record."""
        labels = info.labels or {}
        durations = info.durations
        return cls(
            info.id,
            info.url,
            labels.get(RUN_LABEL, ""),
            labels.get(NAME_LABEL, ""),
            labels.get(MARK_LABEL, ""),
            str(getattr(info.status.stage, "value", info.status.stage)),
            info.status.message or "",
            str(getattr(info.flavor, "value", info.flavor)),
            _seconds(info.created_at) or 0.0,
            _seconds(info.started_at),
            float((durations and durations.running_secs) or 0.0),
            labels.get(KIND_LABEL, "train"),
        )


@dataclass(frozen=True)
class Answer:
    """The content of a file in the bucket.

    Attributes:
        data: of the file, or of the part that was asked for; None where it has not changed.
        etag: to ask with the next time.
    """

    data: bytes | None
    etag: str | None


class HubClient:
    """The Jobs and the bucket of an account.

    Args:
        token: see `memshield.network.Token`.
        namespace: whose; by default the token's own.

    Raises:
        UserError: there is no token, or it may only read.
    """

    def __init__(self, token: Token = None, namespace: str | None = None) -> None:
        self.api: HfApi = api_for(token)
        with self._asking("HF_TOKEN", "this token"):
            account = self.account = account_of(self.api)
        self.namespace = namespace or account.name
        if not account.owns(self.namespace):
            raise UserError(
                "--namespace", f"{account.name} may not run Jobs of {self.namespace!r}",
                "Leave it out, or name an organization of yours.",
            )  # fmt: skip
        self.bucket = f"{self.namespace}/{BUCKET}"
        disable_progress_bars()

    # Jobs

    def prices(self) -> dict[str, float]:
        """US dollars a minute of every hardware."""
        share = {"minute": 1.0, "hour": 60.0, "second": 1 / 60}
        with self._asking("--hardware", "the list of hardware"):
            listed = self.api.list_jobs_hardware()
        return {one.name: one.unit_cost_usd / share[one.unit_label] for one in listed}

    def start(
        self,
        image: str,
        command: Sequence[str],
        hardware: str,
        seconds: int,
        labels: Mapping[str, str],
        volumes: Sequence[Volume],
        secrets: Mapping[str, str],
    ) -> RemoteJob:
        """Start a job.

        Raises:
            UserError: the Hub refuses; the words say why.
            UnansweredError: it does not answer, and may have started it.
        """
        with self._asking("Jobs", "the job"):
            try:
                return RemoteJob.of(
                    self.api.run_job(
                        image=image, command=list(command), flavor=hardware, timeout=seconds,
                        labels={LABEL: "1", **labels}, volumes=list(volumes),
                        secrets=dict(secrets) or None, namespace=self.namespace,
                    )
                )  # fmt: skip
            except HfHubHTTPError as error:
                raise refusal(error, hardware) from None
            except TryAgainError as error:
                if "answered 429" in error.reason:
                    raise too_many(error.reason) from None
                raise UnansweredError(
                    "Jobs", f"whether the job was started is not known: {error.reason}",
                    "It is looked for: `python -m memshield runs` lists it if it is there.",
                ) from None  # fmt: skip

    def jobs(self, run: str | None = None, active: bool = False) -> list[RemoteJob]:
        """Jobs that MemShield started, newest first.

        Args:
            run: of this run alone.
            active: only those that wait or run.
        """
        labels = {LABEL: "1"} | ({RUN_LABEL: run} if run is not None else {})
        stages = ["SCHEDULING", "RUNNING"] if active else None
        with self._asking("Jobs", "your jobs"):
            found = self.api.list_jobs(
                namespace=self.namespace,
                labels=labels,
                status=stages,
            )
            return sorted(map(RemoteJob.of, found), key=lambda job: job.created, reverse=True)

    def inspect(self, id: str) -> RemoteJob | None:
        """A job as it is now; None where it was deleted."""
        with self._asking("job", "the job"):
            try:
                return RemoteJob.of(self.api.inspect_job(job_id=id, namespace=self.namespace))
            except HfHubHTTPError as error:
                if error.response.status_code == 404:
                    return None
                raise

    def cancel(self, id: str) -> None:
        """End a job, whatever it does."""
        with self._asking("stop", "the job"):
            try:
                self.api.cancel_job(job_id=id, namespace=self.namespace)
            except HfHubHTTPError as error:
                if error.response.status_code != 404:
                    raise

    def last_lines(self, id: str, count: int) -> list[str]:
        """What a job printed last, as far as the Hub still knows it."""
        with self._asking("job", "the job's output"):
            try:
                found = self.api.fetch_job_logs(job_id=id, namespace=self.namespace, tail=count)
                return list(found)[-count:]
            except HfHubHTTPError:
                return []

    # The bucket

    def make_bucket(self) -> None:
        """Make the private bucket, unless it is there.

        Raises:
            UserError: it is there, and public.
        """
        with self._asking("bucket", self.bucket):
            self.api.create_bucket(self.bucket, private=True, exist_ok=True)
            if not self.api.bucket_info(self.bucket).private:
                raise UserError(
                    "bucket", f"{self.bucket} is public, and training pictures may lie in it",
                    f"Make it private on the Hub: {self.api.endpoint}/buckets/{self.bucket}",
                )  # fmt: skip

    def change(
        self,
        add: Mapping[str, Path | bytes] | None = None,
        delete: Iterable[str] = (),
    ) -> None:
        """Write and delete files of the bucket.

        Raises:
            UserError: the Hub takes no more, or the token may not write there.
        """
        files: list[tuple[str | Path | bytes, str]] = [
            (content, name) for name, content in (add or {}).items()
        ]
        with self._asking("bucket", self.bucket):
            try:
                self.api.batch_bucket_files(self.bucket, add=files, delete=list(delete))
            except ConnectionError as error:
                if not _NOT_ALLOWED.search(str(error)):
                    raise
                raise UserError(
                    "HF_TOKEN", f"the token may not write to the bucket {self.bucket}",
                    f"Give it write access to the repositories of {self.namespace}.",
                ) from None  # fmt: skip

    def names(self, folder: str) -> list[str]:
        """Paths of all files below a folder; [] where there is no bucket."""
        with self._asking("bucket", self.bucket):
            try:
                found = self.api.list_bucket_tree(self.bucket, folder, recursive=True)
                # The Hub takes it for a prefix, which other folders may have as well.
                return [
                    one.path for one in found
                    if one.type == "file" and one.path.startswith(f"{folder}/")
                ]  # fmt: skip
            except BucketNotFoundError:
                return []

    def read(
        self, name: str, etag: str | None = None, first: int = 0, most: int = _MOST_BYTES
    ) -> Answer | None:
        """A file of the bucket.

        Args:
            name: its path.
            etag: of what is here already.
            first: byte to begin with.
            most: bytes that are taken.

        Returns:
            None where there is no such file.

        Raises:
            UserError: it is larger, or cannot be had.
        """
        headers = self._headers()
        if etag is not None:
            headers["If-None-Match"] = etag
        if first:
            headers["Range"] = f"bytes={first}-"
        with (
            self._asking("bucket", name),
            get_session().stream("GET", self._url(name), headers=headers) as response,
        ):
            if response.status_code not in (200, 206):
                response.read()
            if response.status_code == 404:
                return None
            if response.status_code == 304:
                return Answer(None, etag)
            if response.status_code == 416:  # nothing beyond what is here
                return Answer(b"", None)
            hf_raise_for_status(response)
            said = (response.history[0] if response.history else response).headers.get("etag")
            # A server may answer a range with everything.
            skipped = 0 if response.status_code == 206 else first
            data = bytearray()
            for chunk in response.iter_bytes(_CHUNK):
                data += chunk
                if len(data) - skipped > most:
                    raise UserError("bucket", f"{name} is larger than {size(most)}", "")
            return Answer(bytes(data[skipped:]), said)

    def download(self, name: str, target: Path, version: str | None = None) -> None:
        """Write a file of the bucket to this disk, whole or not at all.

        Args:
            name: its path.
            target: to write.
            version: of the file; what is here of the same one is not asked for again. None where
                it may change meanwhile.

        Raises:
            UserError: it is not there, or cannot be had.
            OSError: this disk does not take it.
        """
        part = target.with_name(f".{target.name}.{version or 'new'}.part")
        target.parent.mkdir(parents=True, exist_ok=True)
        for other in target.parent.glob(f".{escape(target.name)}.*part"):
            if other != part or version is None:
                other.unlink()
        there = part.stat().st_size if part.exists() else 0
        headers = self._headers() | ({"Range": f"bytes={there}-"} if there else {})
        refused: OSError | None = None  # by this disk; within, it would pass for the Hub's silence
        with (
            self._asking("bucket", name),
            get_session().stream("GET", self._url(name), headers=headers) as response,
        ):
            if response.status_code != 416:
                hf_raise_for_status(response)
                chunks = response.iter_bytes(_CHUNK)
                try:
                    with part.open("ab" if response.status_code == 206 else "wb") as file:
                        for chunk in chunks:
                            file.write(chunk)
                            if shutil.disk_usage(part.parent).free < _KEPT_FREE:
                                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                except OSError as error:
                    refused = error
        if refused is not None:
            raise refused
        part.replace(target)

    def _url(self, name: str) -> str:
        return f"{self.api.endpoint}/buckets/{self.bucket}/resolve/{quote(name, safe='')}"

    def _headers(self) -> dict[str, str]:
        return dict(build_hf_headers(token=self.api.token))

    @contextmanager
    def _asking(self, field: str, name: str) -> Iterator[None]:
        """Within, the Hub's silence is an `UnreachableError`; its refusals are told in words."""
        with (
            steady_session(silence=_SILENCE),
            asking(field, name, token=self.api.token),
        ):
            try:
                yield
            except TryAgainError as error:
                raise UnreachableError(field, error.reason) from None
            except TransportError as error:  # in the middle of an answer
                reason = f"no answer from the Hub ({type(error).__name__})"
                raise UnreachableError(field, reason) from None


class UnreachableError(UserError):
    """The Hub does not answer now; what runs there goes on."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason, "Try again in a while: a job goes on meanwhile.")


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()


def plain(value: Any) -> str:
    """A text that may be a label's value."""
    return "".join(one if one.isalnum() or one in "._-" else "." for one in str(value))[:63]
