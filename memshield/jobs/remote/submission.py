"""From settings to a job: what it takes there, and its start."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml
from huggingface_hub import Volume

from memshield.config.file import Config, to_yaml
from memshield.config.shipped import APP_ROOT
from memshield.errors import UserError
from memshield.forecast.flavours import gpus_of
from memshield.jobs.records import UnansweredError
from memshield.jobs.remote.client import (
    KIND_LABEL,
    MARK_LABEL,
    NAME_LABEL,
    RUN_LABEL,
    HubClient,
    RemoteJob,
    plain,
)
from memshield.jobs.remote.code import CONTAINER, code_files, to_send, version_of
from memshield.jobs.remote.container import STOP
from memshield.jobs.remote.places import INPUTS, MOUNTS, Places, find_places
from memshield.jobs.remote.record import MOST_BYTES, REQUEST, SETTINGS, RunRecord

FOLDER, CODE = f"{MOUNTS}/run", f"{MOUNTS}/code"
IMAGE = "python:3.11"
CHECKPOINTS = "checkpoint-"
"""Beginning of what only a training needs."""
COPY_SECONDS = 3.0
"""Between two copies of what a container writes."""
_SPACE = "hf.co/spaces/"


class Machine(NamedTuple):
    """The machine that jobs are started on.

    Attributes:
        hardware: the Hub's name, such as a10g-small.
        seconds: the time limit.
        image: of the container.
    """

    hardware: str
    seconds: int
    image: str


@dataclass(frozen=True)
class RunTask:
    """A command on a run that lies in the bucket; see `memshield.__main__`.

    Attributes:
        kind: audit, compare or sample.
        words: behind the run.
        machine: that it is run on.
    """

    kind: str
    words: tuple[str, ...]
    machine: Machine

    def command(self) -> list[str]:
        """The command that a person types; an audit uses all GPUs."""
        gpus = gpus_of(self.machine.hardware)
        words = ["python"]
        if self.kind == "audit" and gpus > 1:
            words += ["-m", "accelerate.commands.launch"]
            words += ["--config_file", "configs/accelerate/multi_gpu.yaml"]
            words += ["--num_processes", str(gpus)]
        return [*words, "-m", "memshield", self.kind, "{run}", *self.words]


@dataclass(frozen=True)
class Submission:
    """A run that is ready to be started.

    Attributes:
        record: of the run.
        config: of the container.
        places: what it reads.
    """

    record: RunRecord
    config: Config
    places: Places


def default_image(environment: Mapping[str, str] = os.environ) -> str:
    """The Space's own image where this is one; a plain Python elsewhere."""
    space = environment.get("SPACE_ID")
    return f"{_SPACE}{space}" if space else IMAGE


def processes_for(hardware: str, shards: int) -> int:
    """Processes that train on a hardware: one a GPU, as far as there are shards for them."""
    return max(1, min(gpus_of(hardware), shards))


def prepare_submission(
    client: HubClient, config: Config, id: str, name: str, machine: Machine
) -> Submission:
    """Find out what a training needs in its container. Nothing is sent.

    Raises:
        UserError: something that it reads is not there, or may not be read.
    """
    places = find_places(client, config)
    record = RunRecord(
        id=id,
        name=name,
        hardware=machine.hardware,
        image=machine.image,
        seconds=machine.seconds,
        code=version_of(code_files()),
        flags=places.flags,
        meant={"push_to_hub": config.push_to_hub, "output_dir": config.output_dir, **places.meant},
        volumes=[volume.to_dict() for volume in places.volumes],
        links=places.links,
        needs_token=places.needs_token,
        publishes=config.hub_model_id if config.push_to_hub else None,
        processes=processes_for(machine.hardware, config.num_shards),
    )
    return Submission(record, inside(config), places)


def inside(config: Config) -> Config:
    """The settings of a container."""
    return config.model_copy(
        update={"push_to_hub": False, "output_dir": "run", "resume_from_checkpoint": "latest"}
    )


def send(client: HubClient, submission: Submission) -> None:
    """Write everything but the start to the bucket.

    Raises:
        UserError: the bucket takes no more, or is public.
    """
    client.make_bucket()
    record = submission.record
    send_code(client)
    own: dict[str, Path | bytes] = {
        f"{record.id}/{name}": path for name, path in submission.places.uploads.items()
    }
    own[f"{record.id}/{SETTINGS}"] = to_yaml(submission.config).encode()
    own[f"{record.id}/{REQUEST}"] = record.model_dump_json(indent=1).encode()
    client.change(own)


def send_code(client: HubClient) -> str:
    """Write this version of the code to the bucket, unless it is there; its name."""
    code = code_files()
    name = version_of(code)
    version = f"code/{name}"
    if client.read(f"{version}/complete") is None:
        client.change({f"{version}/{path}": content for path, content in to_send(code).items()})
        client.change({f"{version}/complete": b"1"})
    return name


def start(
    client: HubClient,
    record: RunRecord,
    token: str | None = None,
    mark: str | None = None,
    task: RunTask | None = None,
) -> tuple[RunRecord, RemoteJob]:
    """Start the next job of a run whose files are in the bucket.

    Args:
        client: of the account.
        record: of the run.
        token: to give to the job as a secret, where the record says that it needs one.
        mark: of the task; by default made from the number of jobs.
        task: what to do with the run, by this version of the code; None to train.

    Returns:
        The record and the job, as they are now.

    Raises:
        UserError: the Hub refuses; nothing is billed then.
        UnansweredError: it may have been started; the record's mark finds it.
    """
    jobs, before = record.jobs + 1, client.read(f"{record.id}/{REQUEST}", most=MOST_BYTES)
    again = record.model_copy(
        update={"jobs": jobs, "mark": mark or f"{record.id}:{jobs}", "started": time.time()}
    )
    _write_record(client, again, delete=[f"{record.id}/{STOP}"])
    try:
        return again, _start(client, again, token, task)
    except UnansweredError:
        raise
    except UserError:
        # As it was: what was refused, such as dearer hardware, holds for no later start.
        kept = b"" if before is None else before.data
        with suppress(UserError):  # why nothing was started is the news
            if kept:
                client.change({f"{record.id}/{REQUEST}": kept})
            else:
                _write_record(client, record)
        raise


def forget(client: HubClient, id: str) -> None:
    """Delete everything of a run from the bucket."""
    names = client.names(id)
    if names:
        client.change(delete=names)


def _write_record(client: HubClient, record: RunRecord, delete: Sequence[str] = ()) -> None:
    text = record.model_dump_json(indent=1)
    client.change({f"{record.id}/{REQUEST}": text.encode()}, delete)


def _start(
    client: HubClient, record: RunRecord, token: str | None, task: RunTask | None
) -> RemoteJob:
    labels = {RUN_LABEL: record.id, NAME_LABEL: record.name, MARK_LABEL: plain(record.mark)}
    if task is not None:
        labels[KIND_LABEL] = task.kind
        own = {**task.machine._asdict(), "code": send_code(client)}
        record = record.model_copy(update=own)
    return client.start(
        record.image,
        command_of(record, task),
        record.hardware,
        record.seconds,
        labels,
        [
            Volume(type="bucket", source=client.bucket, mount_path=FOLDER, path=record.id),
            Volume(
                type="bucket", source=client.bucket, mount_path=CODE,
                path=f"code/{record.code}", read_only=True,
            ),
            *(Volume(**volume) for volume in record.volumes),
        ],
        {"HF_TOKEN": token} if record.needs_token and token else {},
    )  # fmt: skip


def command_of(record: RunRecord, task: RunTask | None = None) -> list[str]:
    """The command of a job's container."""
    words = ["python", f"{CODE}/{CONTAINER}", "--folder", FOLDER]
    # A mark may begin with a dash, as a job's id may.
    words += ["--code", CODE, f"--mark={plain(record.mark)}"]
    words += ["--seconds", str(record.seconds), "--every", str(COPY_SECONDS)]
    for name, path in {INPUTS: f"{FOLDER}/{INPUTS}", **record.links}.items():
        words += ["--link", f"{name}={path}"]
    if task is None:
        return [*words, "--", *training_words(record)]
    return [*words, "--without", CHECKPOINTS, "--", *task.command()]


def training_words(record: RunRecord) -> list[str]:
    """The training's own command: that which a person types, with what differs in a container.

    One process is started as accelerate would start it. accelerate itself would import torch
    first, which takes more than a second.
    """
    if record.processes > 1:
        words = ["python", "-m", "accelerate.commands.launch"]
        words += ["--config_file", "configs/accelerate/multi_gpu.yaml"]
        words += ["--num_processes", str(record.processes)]
    else:
        one = "single_gpu" if gpus_of(record.hardware) else "cpu"
        launch = yaml.safe_load((APP_ROOT / f"configs/accelerate/{one}.yaml").read_text())
        words = ["env", f"ACCELERATE_MIXED_PRECISION={launch['mixed_precision']}", "python"]
    words += ["-m", "memshield.train", "--config", f"{FOLDER}/{SETTINGS}", "--output_dir", "{run}"]
    for name, value in record.flags.items():
        words += [f"--{name}", value]
    return words
