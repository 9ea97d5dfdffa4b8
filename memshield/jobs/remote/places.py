"""Where a training on Jobs finds what it reads: on the Hub, in a volume, or in the bucket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import Volume
from huggingface_hub.hf_api import DatasetInfo, ModelInfo

from memshield.config.file import Config
from memshield.config.schema import BUILT_IN
from memshield.config.shipped import APP_ROOT, FOLDER, find_shipped
from memshield.errors import UserError
from memshield.jobs.remote.client import HubClient
from memshield.network import RepoType, asking
from memshield.paths import expanded
from memshield.quantities import size

MOUNTS = "/memshield"
INPUTS = "inputs"
_READ: dict[str, tuple[RepoType, str | None]] = {
    "pretrained_model_name_or_path": ("model", "revision"),
    "model_config_name_or_path": ("model", "revision"),
    "pretrained_vae_model_name_or_path": ("model", None),
    "dataset_name": ("dataset", "dataset_revision"),
    "train_data_dir": ("dataset", None),
}
"""Settings that name what is read: a repository of which type, and which setting has its commit."""


@dataclass
class Places:
    """What a training reads, and the names that it has in the container.

    Attributes:
        flags: settings whose values differ in the container.
        meant: the values that they stand for, with the commits that were mounted.
        volumes: read-only.
        links: from names in the container to paths of volumes.
        uploads: files here by their paths in the run's folder of the bucket.
        needs_token: whether something private is read that cannot be mounted.
        lines: in words, what is copied or mounted.
    """

    flags: dict[str, str] = field(default_factory=dict)
    meant: dict[str, Any] = field(default_factory=dict)
    volumes: list[Volume] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, Path] = field(default_factory=dict)
    needs_token: bool = False
    lines: list[str] = field(default_factory=list)


def find_places(client: HubClient, config: Config) -> Places:
    """Decide for every setting that names something to read.

    Raises:
        UserError: something is not there, or may not be read.
    """
    places = Places()
    for name in _READ:
        value = getattr(config, name)
        if value is None or (name == "dataset_name" and value == BUILT_IN):
            continue
        path = expanded(value)
        if name == "model_config_name_or_path" and _is_shipped(path):
            continue
        if path.exists():
            _upload(places, name, path, client.bucket)
        elif name == "train_data_dir":
            raise UserError(name, f"there is no folder {value}", "Check the path.")
        else:
            _look_up(places, client, config, name, value)
    return places


def _is_shipped(path: Path) -> bool:
    """Whether the code that goes into the container has it, under the same name."""
    own = (APP_ROOT / FOLDER).resolve()
    is_ours = path.parts[:1] == (FOLDER,)
    return is_ours and find_shipped(str(path)).resolve().is_relative_to(own)


def _upload(places: Places, name: str, path: Path, bucket: str) -> None:
    target = f"{INPUTS}/{name}"
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    root = path.parent if path.is_file() else path
    total = 0
    for file in files:
        if file.is_file():
            places.uploads[f"{target}/{file.relative_to(root).as_posix()}"] = file
            total += file.stat().st_size
    places.flags[name] = f"{target}/{path.name}" if path.is_file() else target
    places.meant[name] = str(path)
    places.lines.append(
        f"{path} ({size(total)}) is copied to your private bucket {bucket}; the copy is deleted "
        "when you fetch the run after its end, or delete it"
    )


def _look_up(places: Places, client: HubClient, config: Config, name: str, value: str) -> None:
    repo_type, revision_setting = _READ[name]
    revision = getattr(config, revision_setting) if revision_setting else None
    with asking(name, value, repo_type, revision, client.api.token):
        info: ModelInfo | DatasetInfo = (
            client.api.model_info(value, revision=revision)
            if repo_type == "model"
            else client.api.dataset_info(value, revision=revision)
        )
    if not info.private and not info.gated:
        return  # read from the Hub, as anybody can
    if name == "dataset_name" and config.dataset_config_name is not None:
        places.needs_token = True
        places.lines.append(
            f"{value} is private and its configuration {config.dataset_config_name} cannot be "
            "mounted: your token goes into the job, as a secret"
        )
        return
    link = name.partition("_name")[0]
    mount = f"{MOUNTS}/{link}"
    places.volumes.append(
        Volume(type=repo_type, source=value, mount_path=mount, revision=info.sha, read_only=True)
    )
    places.links[link] = mount
    places.flags[name] = link
    places.meant[name] = value
    if revision_setting:
        places.meant[revision_setting] = info.sha
    places.lines.append(f"{value} is mounted read-only; no token enters the job")


def with_meant(values: Mapping[str, Any], meant: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run that was trained in a container, as they are meant here."""
    return {**values, **{name: value for name, value in meant.items() if name in values}}
