"""The request for an audit of a model that is no run's: what is valid, and its command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from memshield.config.file import make_config
from memshield.errors import UserError, UserErrors, collect_errors
from memshield.hub.catalog.access import require_id
from memshield.jobs.admission import require_allowed
from memshield.jobs.audit_request import require_pictures
from memshield.jobs.folders import Folders
from memshield.jobs.records import LOCAL
from memshield.network import RepoType
from memshield.paths import expanded
from memshield.rundir import write_text

PROMPTS = ("train", "held_out", "perturbed")
MOST_SHARE = 90
"""Percent of a dataset that may be held out."""
_FILE = re.compile(r"[\w.-]{1,100}\.safetensors", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][\w.,:%+\[\] -]{0,199}", re.ASCII)
"""Splits, configurations and columns; nothing that could be a flag or a path."""


@dataclass(frozen=True)
class ModelAuditArguments:
    """A valid request; made by `make_model_audit`.

    Attributes:
        model: Hub id or folder of a pipeline or LoRA.
        dataset: Hub id or folder of the pictures that it was trained on.
        dataset_config, split, image_column, caption_column: of the dataset; None for its own.
        base: Hub id or folder of the pipeline that a LoRA goes on; None for what the LoRA says.
        weight_name: file of the LoRA; None where there is one only.
        held_out: Hub id or folder of pictures that it was not trained on; None for none.
        held_out_split: of these, or of the dataset itself without `held_out`.
        held_out_share: percent at the end of the dataset that it was not trained on.
        num_images: to generate; None for a number by the size of the set.
        prompts: of text models; see `memshield.audit.prompts`.
    """

    model: str
    dataset: str
    dataset_config: str | None = None
    split: str | None = None
    image_column: str | None = None
    caption_column: str | None = None
    base: str | None = None
    weight_name: str | None = None
    held_out: str | None = None
    held_out_split: str | None = None
    held_out_share: int | None = None
    num_images: int | None = None
    prompts: str | None = None

    def words(self, output_dir: Path) -> list[str]:
        """The arguments of the command; one word each, so that no value is taken for a flag."""
        share = f"{self.held_out_share}%" if self.held_out_share is not None else None
        held_out = self.held_out
        given: list[tuple[str, object]] = [
            ("model", self.model), ("base", self.base), ("weight_name", self.weight_name),
            (_flag(self.dataset, "dataset", "train_data_dir"), self.dataset),
            ("dataset_config_name", self.dataset_config), ("dataset_split", self.split),
            ("image_column", self.image_column), ("caption_column", self.caption_column),
            (_flag(held_out or "", "held_out", "held_out_data_dir"), held_out or share),
            ("held_out_split", self.held_out_split),
            ("num_images", self.num_images), ("prompts", self.prompts),
            ("output_dir", output_dir),
        ]  # fmt: skip
        return [f"--{name}={value}" for name, value in given if value is not None]

    def require_allowed(self, owner: str, folders: Folders) -> None:
        """Refuse what reaches for files of the server that are not the owner's.

        Raises:
            UserErrors: naming it.
        """
        errors: list[UserError] = []
        for field, setting, value in (
            ("model", "pretrained_model_name_or_path", self.model),
            ("base", "pretrained_model_name_or_path", self.base),
            ("dataset", _flag(self.dataset, "dataset_name", "train_data_dir"), self.dataset),
            ("held_out", _flag(self.held_out or "", "dataset_name", "train_data_dir"),
             self.held_out),
        ):  # fmt: skip
            if value is None:
                continue
            config = make_config({setting: value}, without=["model", "dataset"])
            found: list[UserError] = []
            with collect_errors(found):
                require_allowed(config, owner, folders)
            errors += [one.moved(field) for one in found]
        if errors:
            raise UserErrors(errors)

    def needed(self) -> list[tuple[RepoType, str]]:
        """The repositories on the Hub that it reads, as far as they are named."""
        named: list[tuple[RepoType, str | None]] = [
            ("model", self.model), ("model", self.base),
            ("dataset", self.dataset), ("dataset", self.held_out),
        ]  # fmt: skip
        return [(kind, name) for kind, name in named if name and not is_folder(name)]


def is_folder(name: str) -> bool:
    """Whether a model or dataset of a valid request is a folder here, and no Hub id."""
    return Path(name).is_absolute()


def _flag(name: str, of_hub: str, of_folder: str) -> str:
    return of_folder if is_folder(name) else of_hub


_REQUEST = TypeAdapter(ModelAuditArguments)


def make_model_audit(
    owner: str, values: Mapping[str, object], folders: Folders
) -> ModelAuditArguments:
    """Check a request whose values may be of any type.

    Args:
        owner: who is signed in, or `LOCAL`.
        values: by the names of `ModelAuditArguments`; empty ones are left out.
        folders: of the server, in which an owner's uploads may be named.

    Raises:
        UserErrors: everything that is wrong with it.
    """
    unknown = set(values) - {field.name for field in fields(ModelAuditArguments)}
    if unknown:
        raise UserError(min(unknown), "is no part of an audit", "Leave it out.")
    errors: list[UserError] = []
    found: dict[str, Any] = {}
    kinds: dict[str, RepoType] = {
        "model": "model", "base": "model", "dataset": "dataset", "held_out": "dataset"
    }  # fmt: skip
    for name, value in values.items():
        if value is None or value == "":
            continue
        with collect_errors(errors):
            if name in kinds:
                found[name] = _place(owner, name, value, kinds[name])
            elif name == "num_images":
                found[name] = require_pictures(value)
            elif name == "held_out_share":
                found[name] = _share(value)
            else:
                found[name] = _text(name, value)
    for name, remedy in (
        ("model", "Give the id of a model on the Hub: owner/name."),
        ("dataset", "Name the pictures that the model was trained on."),
    ):
        if name not in found and not any(error.field == name for error in errors):
            errors.append(UserError(name, "is missing", remedy))
    if "held_out_share" in found and ("held_out" in found or "held_out_split" in found):
        problem = "is given beside other held-out pictures"
        errors.append(UserError("held_out_share", problem, "Give one of the two."))
    if errors:
        raise UserErrors(errors)
    arguments = ModelAuditArguments(**found)
    arguments.require_allowed(owner, folders)
    return arguments


def _place(owner: str, field: str, value: object, kind: RepoType) -> str:
    if not isinstance(value, str) or "\0" in value or len(value) > 4096:
        raise UserError(field, "is no name", "Type it again.")
    text = value.strip()
    if text[:1] in "/~." or "\\" in text:
        return _folder(owner, field, text)
    return require_id(text, kind, field)


def _folder(owner: str, field: str, text: str) -> str:
    """A folder of the machine; on a Space, which of them are the owner's is decided afterwards."""
    try:
        path = expanded(text).absolute()
        there = path.is_dir()
    except (OSError, RuntimeError):  # a loop of links, too long a name, an unknown home
        raise UserError(field, "is no folder", "Type it again.") from None
    if owner == LOCAL and not there:
        problem = f"{path} is a file" if path.exists() else f"there is no folder {path}"
        raise UserError(field, problem, "Name a folder, or an id on the Hub: owner/name.")
    return str(path)


def _share(value: object) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 1 <= int(str(value)) <= MOST_SHARE:
        shown = str(value)[:40]
        problem = f"must be 1 to {MOST_SHARE} percent, is {shown!r}"
        raise UserError("held_out_share", problem, "Such as 20.")
    return int(str(value))


def _text(field: str, value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if field == "prompts" and text not in PROMPTS:
        raise UserError(field, "is no kind of prompts", f"One of {', '.join(PROMPTS)}.")
    if field == "weight_name" and not _FILE.fullmatch(text):
        raise UserError(field, "is no file of weights", "It ends in .safetensors.")
    if not _NAME.fullmatch(text):
        raise UserError(field, f"{str(value)[:40]!r} is no name", "Check its spelling.")
    return text


def write_arguments(folders: Folders, id: str, arguments: ModelAuditArguments) -> None:
    """Write the request of a job."""
    write_text(folders.request(id), _REQUEST.dump_json(arguments).decode() + "\n")


def read_arguments(folders: Folders, id: str) -> ModelAuditArguments:
    """Read the request of a job."""
    return _REQUEST.validate_json(folders.request(id).read_bytes())
