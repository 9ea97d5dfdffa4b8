"""The repository to publish to: whether it is writable, and who can read it."""

from __future__ import annotations

from dataclasses import dataclass

from huggingface_hub import HfApi, ModelInfo
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from memshield.errors import UserError
from memshield.hub.account import Account
from memshield.hub.allowed_files import CARD, REPOSITORY_FILES, is_allowed
from memshield.hub.catalog.access import require_id
from memshield.hub.manifest import NAME

FIELD = "hub_model_id"


@dataclass(frozen=True)
class Destination:
    """Where a model goes.

    Attributes:
        repo_id: owner/name.
        public: whether everybody can read it.
        exists: whether it is there already.
    """

    repo_id: str
    public: bool
    exists: bool


def find_destination(
    api: HfApi,
    account: Account,
    name: str | None,
    wants_private: bool | None,
    private: tuple[str, ...],
) -> Destination:
    """Look the repository up.

    Args:
        api: with the token of who publishes.
        account: of that token.
        name: the id; without an owner it is the user's own.
        wants_private: whether only its owner may read it; None for private where it is new, and
            as it is where it is there.
        private: what of the model's origins is private, in words.

    Raises:
        UserError: no or a bad name, somebody else's, one that holds something else, or one that
            is public where it must not be.
    """
    if not name:
        raise UserError(FIELD, "is missing", "Name the repository to publish to: owner/name.")
    name = name if "/" in name else f"{account.name}/{name}"
    repo_id = require_id(name, "model", FIELD)
    info = repository_at(api, repo_id)
    owner = repo_id.split("/")[0]
    if info is None and not account.owns(owner):
        owners = ", ".join((account.name, *account.organizations))
        raise UserError(
            FIELD, f"{account.name} cannot create {repo_id}", f"Owners you can write to: {owners}."
        )
    if info is None and not account.may("repo.write", owner):
        raise UserError(
            FIELD, f"this token may not create {repo_id}",
            f"Give the token write access to the repositories of {owner}.",
        )  # fmt: skip
    if info is not None:
        # Its name as the Hub has it: it may have been renamed, or be written in other letters.
        repo_id = info.id
        _require_writable(api, info)
        require_ours(info)
    public = wants_private is False if info is None else not info.private
    if public and wants_private:
        raise UserError(
            "hub_private_repo",
            f"{repo_id} is public",
            "Make it private on its page, choose another name, or let everybody read this model.",
        )
    if public and private:
        there = "is public" if info is not None else "would be public"
        raise UserError(
            "hub_private_repo",
            f"{repo_id} {there}, and {' and '.join(private)} private",
            "Publish to a private repository.",
        )
    return Destination(repo_id, public, info is not None)


def repository_at(api: HfApi, repo_id: str) -> ModelInfo | None:
    """A model repository as this token sees it; None where it sees none."""
    try:
        return api.model_info(repo_id)
    except RepositoryNotFoundError:
        return None


def require_ours(info: ModelInfo) -> None:
    """Refuse a repository that holds something other than a published model of MemShield.

    Raises:
        UserError: naming what it holds.
    """
    files = names_of(info)
    foreign = sorted(path for path in files - REPOSITORY_FILES if not is_allowed(path))
    if NAME not in files:
        foreign = sorted(files - REPOSITORY_FILES - {CARD})
    if foreign:
        raise UserError(
            FIELD,
            f"{info.id} holds other files: {', '.join(foreign[:3])}",
            "Choose a new name, or one that MemShield has published to.",
        )


def names_of(info: ModelInfo) -> set[str]:
    """The paths of all files in a repository."""
    return {file.rfilename for file in info.siblings or []}


def _require_writable(api: HfApi, info: ModelInfo) -> None:
    try:
        api.auth_check(info.id, write=True)
    except (GatedRepoError, RepositoryNotFoundError, HfHubHTTPError) as error:
        status = error.response.status_code
        if status not in (401, 403, 404):
            raise
        if status == 404 and not isinstance(error, RepositoryNotFoundError):
            return  # this Hub has no such route: it was read with this token, and sending tells
        raise UserError(
            FIELD,
            f"this token cannot write to {info.id}",
            "Use a token with write access, or another name.",
        ) from None
