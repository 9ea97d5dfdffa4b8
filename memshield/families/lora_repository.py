"""A LoRA of any trainer in a repository or folder: its file, and its base. No weights, no torch."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import SafetensorsParsingError

from memshield.digests import LORA
from memshield.errors import UserError
from memshield.families.facts import Facts
from memshield.families.repository import LARGEST_JSON, PICKLES, Repository
from memshield.network import Token, asking
from memshield.paths import expanded

INDEX, ADAPTER, CARD = "model_index.json", "adapter_config.json", "README.md"
SUFFIX = ".safetensors"
_LORA_NAMES = re.compile(r"lora[._](A|B|up|down)\b|lora_(A|B|up|down)\.|hada_w|lokr_w")
_LARGEST_CARD = 2**16
"""Characters of a card that are searched for its base; front matter stands first."""
_BASE = re.compile(
    r"^base_model:[ \t]*(?:\n[ \t]*-[ \t]*)?"
    r"[\"']?([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)[\"']?[ \t]*$",
    re.MULTILINE | re.ASCII,
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_WHOLE = "Give a diffusers pipeline (a folder with model_index.json), or a LoRA."


@dataclass(frozen=True)
class Lora:
    """A LoRA, and the pipeline that it goes on.

    Attributes:
        repository: it is in.
        file: its safetensors file there.
        base: Hub id or folder of the pipeline.
    """

    repository: Repository
    file: str
    base: str

    def fetch(self) -> Path:
        """The folder with its file; downloads what is not cached yet."""
        return self.repository.fetch([self.file])


def find_lora(repository: Repository, weight_name: str | None, base: str | None) -> Lora | None:
    """The LoRA in a repository; None where a whole pipeline is in it.

    Args:
        repository: that was looked up.
        weight_name: name of its file, where it holds several.
        base: of the LoRA, as a person names it; None for what the repository says.

    Raises:
        UserError: it is neither, or the base is not known.
    """
    unknown = repository.folder is None and not repository.files  # offline
    if INDEX in repository.files or unknown:
        for flag, value in (("weight_name", weight_name), ("base", base)):
            if value is not None:
                problem = f"{repository.name} is a whole pipeline, not a LoRA"
                raise UserError(flag, problem, "Leave it out.")
        return None
    file = _file_in(repository, weight_name)
    found = base or _base_named_in(repository)
    if found is None:
        raise UserError(
            "base",
            f"{repository.name} is a LoRA that does not say what it goes on",
            "Name its base: the pipeline that was fine-tuned.",
        )
    return Lora(repository, file, found)


def _file_in(repository: Repository, weight_name: str | None) -> str:
    files = [file for file in repository.files if file.endswith(SUFFIX) and "/" not in file]
    if weight_name is not None:
        if weight_name not in files:
            there = f"It has: {', '.join(files)}." if files else "It has none."
            problem = f"{repository.name} has no file {weight_name!r} at its root"
            raise UserError("weight_name", problem, there)
        files = [weight_name]
    elif LORA in files:
        return LORA
    if not files:
        raise _nothing_in(repository)
    if len(files) > 1:
        raise UserError(
            "weight_name",
            f"{repository.name} holds several files of weights",
            f"Name one: {', '.join(sorted(files)[:8])}.",
        )
    if not any(map(_LORA_NAMES.search, _tensors(repository, files[0]))):
        raise UserError(
            repository.field,
            f"{repository.name} holds only a single-file checkpoint ({files[0]})",
            f"Convert it with diffusers first. {_WHOLE}",
        )
    return files[0]


def _nothing_in(repository: Repository) -> UserError:
    pickled = [file for file in repository.files if file.endswith(PICKLES) and "/" not in file]
    if pickled:
        return UserError(
            repository.field,
            f"{repository.name} has only pickled weights ({pickled[0]}), which can run code when "
            "they are read",
            "Convert it to safetensors first.",
        )
    return UserError(
        repository.field,
        f"{repository.name} is neither a diffusers pipeline nor a LoRA: it has no {INDEX}, and no "
        "safetensors file",
        _WHOLE,
    )


def _tensors(repository: Repository, file: str) -> list[str]:
    """Names of the tensors of a safetensors file, from its header alone."""
    broken = UserError(repository.field, f"{repository.name}/{file} is no safetensors file", _WHOLE)
    if repository.folder is not None:
        try:
            return _names_in(repository.folder / file)
        except (ValueError, struct.error):
            raise broken from None
    with asking(repository.field, repository.name, token=repository.token):
        try:
            header = HfApi().parse_safetensors_file_metadata(
                repository.name, file, revision=repository.revision, token=repository.token
            )
        except SafetensorsParsingError:
            raise broken from None
    return list(header.tensors)


def _names_in(path: Path) -> list[str]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > LARGEST_JSON:
            raise ValueError(length)
        return list(json.loads(file.read(length)))


def _base_named_in(repository: Repository) -> str | None:
    """The id on the Hub that a LoRA's files name as its base; a folder they cannot name."""
    named: Any = None
    if ADAPTER in repository.files:
        named = repository.json(ADAPTER).get("base_model_name_or_path")
    if not _is_id(named) and CARD in repository.files:
        text = repository.text(CARD)[:_LARGEST_CARD]
        front = text.split("\n---", 1)[0] if text.startswith("---") else ""
        match = _BASE.search(front.replace("\r\n", "\n"))
        named = match[1] if match else None
    return named if _is_id(named) else None


def _is_id(named: object) -> bool:
    # A folder of this name would be opened before the Hub is asked.
    return isinstance(named, str) and bool(_HUB_ID.fullmatch(named)) and not Path(named).exists()


def require_prompted(lora: Lora | None, facts: Facts) -> None:
    """Refuse a LoRA on a base without prompts.

    Raises:
        UserError: it is.
    """
    if lora is not None and not facts.needs_captions:
        raise UserError(
            "base", f"{lora.base} draws without prompts, and takes no LoRA", "Name another base."
        )


def open_model(
    name: str,
    revision: str | None = None,
    *,
    base: str | None = None,
    weight_name: str | None = None,
    field: str = "model",
    token: Token = None,
) -> tuple[Repository, Lora | None]:
    """Look up a pipeline or a LoRA, here or on the Hub.

    Args:
        name: Hub id or folder.
        revision: branch, tag or commit on the Hub.
        base, weight_name: see `find_lora`.
        field: the setting that names it, for messages.
        token: see `memshield.network.Token`.

    Raises:
        UserError: it cannot be had, or is neither.
    """
    path = expanded(name)
    if path.is_file() or path.suffix == SUFFIX:
        raise UserError(
            field,
            f"{name} is a single file",
            "Name the folder of the LoRA, or convert a checkpoint to a diffusers folder first.",
        )
    repository = Repository.open(field, name, revision, "a diffusers pipeline or a LoRA", token)
    return repository, find_lora(repository, weight_name, base)
