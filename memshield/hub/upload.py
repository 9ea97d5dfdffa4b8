"""One commit, checked, and one tag: nothing is half-published."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelInfo
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

from memshield.errors import UserError
from memshield.hub.contents import REPOSITORY_FILES
from memshield.hub.destination import files_of, require_ours
from memshield.hub.patience import TryAgainError

_CONFLICT = 412


def create(api: HfApi, repo_id: str, private: bool) -> ModelInfo:
    """Create the repository if it is not there, and see that it is as private as it should be.

    Raises:
        UserError: it is public although it must be private.
    """
    api.create_repo(repo_id, private=private, exist_ok=True)
    info = api.model_info(repo_id, files_metadata=True)
    if private and not info.private:
        raise UserError(
            "hub_private_repo", f"{repo_id} is public", "Make it private, or choose another name."
        )
    return info


def commit(api: HfApi, repo_id: str, folder: Path, digests: Mapping[str, str], title: str) -> str:
    """Make the repository hold the folder's files and no others, in one commit.

    May be called again: files that are there already are not uploaded, and a commit that was
    made although its answer was lost is found.

    Args:
        api: of who publishes.
        repo_id: the repository.
        folder: what it shall hold.
        digests: SHA-256 of files, by path, where they are known.
        title: of the commit.

    Returns:
        Its id.

    Raises:
        UserError: somebody else has put other files there meanwhile.
    """
    info = api.model_info(repo_id, files_metadata=True)
    require_ours(info)
    wanted = _files(folder)
    additions = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=path)
        for name, path in sorted(wanted.items())
    ]
    for addition in additions:
        if addition.path_in_repo in digests:
            addition.upload_info.sha256 = bytes.fromhex(digests[addition.path_in_repo])
    stale = sorted(set(files_of(info)) - wanted.keys() - REPOSITORY_FILES)
    deletions = [CommitOperationDelete(path_in_repo=name) for name in stale]
    try:
        # Not upload_folder, which may make several commits: half a model under `main`.
        made = api.create_commit(
            repo_id,
            [*additions, *deletions],
            commit_message=title,
            parent_commit=info.sha,
            num_threads=2,
        )
    except (HfHubHTTPError, RuntimeError, ConnectionError, TimeoutError) as error:
        raise _cause(error, repo_id) from None
    return str(made.oid)


def _cause(error: BaseException, repo_id: str) -> BaseException:
    """Why an upload failed: files go up in threads, and through a library of its own (xet)."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, (TryAgainError, HfHubHTTPError)):
        cause = cause.__cause__
    if cause is None:
        return TryAgainError(f"the upload broke off ({type(error).__name__})")
    changed = isinstance(cause, HfHubHTTPError) and cause.response.status_code == _CONFLICT
    return TryAgainError(f"{repo_id} was changed meanwhile") if changed else cause


def require_whole(
    api: HfApi, repo_id: str, revision: str, folder: Path, digests: Mapping[str, str]
) -> None:
    """See that a commit holds the very files of a folder.

    Raises:
        UserError: it does not.
    """
    info = api.model_info(repo_id, revision=revision, files_metadata=True)
    if not holds(info, folder, digests):
        raise UserError(
            "publish", f"{repo_id} does not hold at {revision[:8]} what was sent", "Publish again."
        )


def holds(info: ModelInfo, folder: Path, digests: Mapping[str, str]) -> bool:
    """Whether a revision of a repository holds the very files of a folder, and no others."""
    there, wanted = files_of(info), _files(folder)
    if there.keys() - REPOSITORY_FILES != wanted.keys():
        return False
    return all(
        there[name] == digests.get(name) or there[name] == _git_id(path)
        for name, path in wanted.items()
    )


def _files(folder: Path) -> dict[str, Path]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in found}


def _git_id(path: Path) -> str:
    """The id that git gives a file; such files are small."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def tag_commit(api: HfApi, repo_id: str, tag: str, revision: str) -> None:
    """Put the tag on a commit; one that is there already stays."""
    api.create_tag(repo_id, tag=tag, revision=revision, exist_ok=True)


def tagged(api: HfApi, repo_id: str, tag: str) -> ModelInfo | None:
    """The repository at a tag; None where there is no such tag."""
    try:
        return api.model_info(repo_id, revision=tag, files_metadata=True)
    except RevisionNotFoundError:
        return None
