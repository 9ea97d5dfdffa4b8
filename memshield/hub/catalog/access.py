"""Access to repositories: ids, tokens and read permission."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import CardData, DatasetInfo, HfApi, ModelInfo
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import GatedRepoError, HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from memshield.errors import UserError
from memshield.network import RepoType, Token, asking

FIELDS: dict[RepoType, str] = {
    "model": "pretrained_model_name_or_path",
    "dataset": "dataset_name",
}
"""The settings that take what is found."""

_SITES = ("huggingface.co", "www.huggingface.co", "hf.co")


def require_id(text: str, repo_type: RepoType, field: str | None = None) -> str:
    """The id of a repository, also where the address of its page was pasted.

    Args:
        text: as a person gives it.
        repo_type: what it should be.
        field: for messages; by default the setting that takes such an id.

    Raises:
        UserError: it is neither; the message says what an id looks like.
    """
    field, name = field or FIELDS[repo_type], text.strip()
    if is_address(name):
        name = _from_address(name, field, repo_type)
    try:
        validate_repo_id(name)
        # The client takes a bare name; today's Hub gives every repository an owner.
        valid = name.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise UserError(
            field,
            f"{_shortened(text)!r} is no id on the Hub",
            "An id is owner/name, such as google/ddpm-cifar10-32: letters, digits and - _ . only.",
        )
    return name


def is_address(text: str) -> bool:
    """Whether this is the address of a web page, with or without https://."""
    return "://" in text or text.split("/")[0].lower() in _SITES


def _from_address(text: str, field: str, repo_type: RepoType) -> str:
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
    except ValueError:  # such as an unclosed bracket
        parts = urlsplit("")
    ours = parts.scheme in ("http", "https") and (
        parts.netloc.lower() in _SITES or parts.netloc == urlsplit(ENDPOINT).netloc
    )
    steps = [step for step in parts.path.split("/") if step]
    found: RepoType = "model"
    if steps[:1] == ["datasets"]:
        found, steps = "dataset", steps[1:]
    if not ours or len(steps) < 2 or steps[0] in ("spaces", "collections", "papers", "docs"):
        raise UserError(
            field,
            f"{_shortened(text)!r} is not the page of a {repo_type} on the Hub",
            "Give owner/name, or the address of its page.",
        )
    if found != repo_type:
        raise UserError(
            field,
            f"{_shortened(text)!r} is the page of a {found}",
            f"Give the id of a {repo_type}.",
        )
    if steps[2:] not in ([], ["tree", "main"]):
        raise UserError(
            field,
            f"{_shortened(text)!r} leads to a part of a repository",
            "Give owner/name here, and a branch, tag or commit as the revision.",
        )
    return "/".join(steps[:2])


def look_up_model(name: str, revision: str | None, token: Token) -> ModelInfo:
    """The Hub's record of a model, with the sizes of its files.

    Raises:
        UserError: there is none, it is private, the revision is unknown, no answer.
    """
    with asking(FIELDS["model"], name, "model", revision, token):
        return HfApi().model_info(name, revision=revision, files_metadata=True, token=token)


def look_up_dataset(name: str, revision: str | None, token: Token) -> DatasetInfo:
    """The Hub's record of a dataset, with the sizes of its files.

    Raises:
        UserError: there is none, it is private, the revision is unknown, no answer.
    """
    with asking(FIELDS["dataset"], name, "dataset", revision, token):
        return HfApi().dataset_info(name, revision=revision, files_metadata=True, token=token)


def may_read(info: ModelInfo | DatasetInfo, repo_type: RepoType, token: Token) -> bool:
    """Whether the files of a repository that was looked up can be downloaded, too.

    Raises:
        UserError: the Hub cannot be asked.
    """
    if not info.gated:
        return True
    with asking(FIELDS[repo_type], info.id, repo_type, token=token):
        try:
            HfApi().auth_check(info.id, repo_type=repo_type, token=token)
        except GatedRepoError:
            return False
    return True


def card_of(info: ModelInfo | DatasetInfo) -> dict[str, Any]:
    """The front matter of a repository's README; {} where it has none."""
    return dict(vars(info.card_data)) if isinstance(info.card_data, CardData) else {}


def _shortened(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}..."
