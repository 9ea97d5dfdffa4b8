"""Describes a model on the Hub, and how it can be trained, before any weight is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from huggingface_hub import HfApi, ModelInfo
from huggingface_hub.errors import SafetensorsParsingError

from memshield.config.file import Config, make_config
from memshield.errors import UserError
from memshield.families import Facts, read_facts, resolve
from memshield.families.facts import training_files
from memshield.families.kinds import PIPELINES, FamilyName
from memshield.families.repository import Repository
from memshield.hub.account import require_token
from memshield.hub.catalog.access import (
    FIELDS,
    card_of,
    look_up_model,
    may_read,
    require_id,
)
from memshield.hub.catalog.license import License, read_license
from memshield.network import Token, asking, page_of

# Read before training fetches anything.
_INDEX = ("model_index.json", "scheduler/scheduler_config.json")


@dataclass(frozen=True)
class ModelDescription:
    """A pipeline that can be fine-tuned.

    Where conditions have yet to be accepted (`has_access` is False) its files cannot be looked
    into: what says so below is None then, and `pipeline_class` is what the Hub says.

    Attributes:
        id: owner/name, as the repository is called today.
        sha: the commit that was looked at.
        page: address of its page, where conditions are accepted.
        pipeline_class: the diffusers class it is saved as.
        family: the module of `memshield.families` that trains it.
        training: what is trained unless a setting says otherwise: a LoRA or all of the network.
        resolution: its own, in pixels; None without access.
        parameters: number of weights of its UNet or transformer; None without access.
        download_bytes: size of the files that training fetches; None without access.
        license: as its card says; None where it says nothing.
        gated: whether its files are handed out only to who has accepted conditions.
        has_access: whether this token may read its files.
        private: whether only its owner sees it.
        downloads: in the last 30 days.
        likes: of all time.
    """

    id: str
    sha: str
    page: str
    pipeline_class: str
    family: FamilyName
    training: Literal["lora", "full"]
    resolution: int | None
    parameters: int | None
    download_bytes: int | None
    license: License | None
    gated: bool
    has_access: bool
    private: bool
    downloads: int
    likes: int


def describe_model(repo_id: str, revision: str | None = None, *, token: Token) -> ModelDescription:
    """Look a model up; its JSON files and the headers of its weights are all that is read.

    Args:
        repo_id: owner/name, or the address of its page.
        revision: branch, tag or commit; None for its main branch.
        token: see `memshield.network.Token`.

    Raises:
        UserError: there is no such model or revision, it is private, it cannot be trained (its
            class, code of its own, pickled weights only, ...), or the Hub cannot be asked.
    """
    name, token = require_id(repo_id, "model"), require_token(token)
    info = look_up_model(name, revision or None, token)
    if may_read(info, "model", token):
        return _looked_into(info, token)
    return _from_outside(info)


def _looked_into(info: ModelInfo, token: Token) -> ModelDescription:
    repository = Repository.from_info(FIELDS["model"], info, token)
    asked = make_config({FIELDS["model"]: info.id}, without=["dataset"])
    facts = read_strangers_facts(asked, repository)
    config = resolve(asked, facts)
    assert config.training is not None
    files = {*training_files(config, facts), *_INDEX}
    return _description(
        info,
        facts.pipeline_class,
        has_access=True,
        training=config.training,
        resolution=facts.resolution,
        parameters=_parameters(repository, facts.network_folder, token),
        download_bytes=sum(repository.files.get(file, 0) for file in files),
    )


def read_strangers_facts(
    config: Config,
    repository: Repository | None = None,
    token: Token = None,
    *,
    to_train: bool = True,
) -> Facts:
    """`read_facts` of a repository whose files may hold anything.

    Raises:
        UserError: as `read_facts`; or they hold what no pipeline's files hold.
    """
    try:
        return read_facts(config, repository, token, to_train=to_train)
    except UserError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        named = config.model_config_name_or_path
        raise UserError(
            "model_config_name_or_path" if named else FIELDS["model"],
            f"the JSON files of {named or config.pretrained_model_name_or_path} hold what no "
            f"pipeline's hold ({error})",
            "Choose another model.",
        ) from None


def _from_outside(info: ModelInfo) -> ModelDescription:
    config = info.config if isinstance(info.config, dict) else {}
    diffusers = config.get("diffusers")
    name = diffusers.get("_class_name") if isinstance(diffusers, dict) else None
    if not isinstance(name, str) or name not in PIPELINES:
        raise UserError(
            FIELDS["model"],
            f"{info.id} is a {name}, which is not supported"
            if name
            else f"{info.id} has no model_index.json that the Hub knows of",
            f"Supported pipelines: {', '.join(sorted(PIPELINES))}.",
        )
    training: Literal["lora", "full"] = "full" if PIPELINES[name] == "unconditional" else "lora"
    return _description(info, name, has_access=False, training=training)


def _description(
    info: ModelInfo,
    pipeline_class: str,
    *,
    has_access: bool,
    training: Literal["lora", "full"],
    resolution: int | None = None,
    parameters: int | None = None,
    download_bytes: int | None = None,
) -> ModelDescription:
    return ModelDescription(
        id=info.id,
        sha=str(info.sha),
        page=page_of("model", info.id),
        pipeline_class=pipeline_class,
        family=PIPELINES[pipeline_class],
        training=training,
        resolution=resolution,
        parameters=parameters,
        download_bytes=download_bytes,
        license=read_license(card_of(info), info.tags, page_of("model", info.id)),
        gated=bool(info.gated),
        has_access=has_access,
        private=bool(info.private),
        downloads=info.downloads or 0,
        likes=info.likes or 0,
    )


def _parameters(repository: Repository, network: str, token: Token) -> int:
    """Weights of what is trained, from the headers of its files: a range request each."""
    total = 0
    for file in repository.component_files(network, None):
        if not file.endswith(".safetensors"):
            continue
        with asking(FIELDS["model"], repository.name, token=token):
            try:
                header = HfApi().parse_safetensors_file_metadata(
                    repository.name, file, revision=repository.revision, token=token
                )
            except SafetensorsParsingError:
                raise UserError(
                    FIELDS["model"],
                    f"{repository.name}/{file} is no safetensors file",
                    "Choose another repository or revision.",
                ) from None
        total += sum(header.parameter_count.values())
    return total
