"""One commit, checked, and one tag: nothing is half-published."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelInfo
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

from memshield.digests import file_sha256
from memshield.errors import UserError
from memshield.hub.allowed_files import CARD, REPOSITORY_FILES
from memshield.hub.listing import ListedFile, list_files
from memshield.hub.manifest import NAME, Manifest
from memshield.hub.publish.destination import names_of, require_ours
from memshield.network import TryAgainError
from memshield.redaction import redact

_CONFLICT = 412


@dataclass(frozen=True)
class CommitFiles:
    """The files of a commit.

    Attributes:
        folder: it lies in.
        digests: SHA-256 of every file, by path.
        private: whether only its owners may read it.
    """

    folder: Path
    digests: Mapping[str, str]
    private: bool

    @classmethod
    def of(cls, folder: Path, manifest: Manifest, private: bool) -> CommitFiles:
        """The parcel of an assembled folder."""
        own = {name: file_sha256(folder / name) for name in (CARD, NAME)}
        return cls(folder, {**manifest.files, **own}, private)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum((self.folder / name).stat().st_size for name in self.digests)

    def require_private(self, info: ModelInfo) -> None:
        """Refuse a public repository where it must be private.

        Raises:
            UserError: it is public.
        """
        if self.private and not info.private:
            raise UserError(
                "hub_private_repo",
                f"{info.id} is public",
                "Make it private on its page, or choose another name.",
            )

    def are(self, files: Mapping[str, ListedFile], but: frozenset[str] = frozenset()) -> bool:
        """Whether a repository's files are these very ones, and no others.

        Args:
            files: of the repository, by path.
            but: files whose content may differ.
        """
        if files.keys() - REPOSITORY_FILES != self.digests.keys():
            return False
        return all(
            name in but
            or files[name].sha256 == digest
            or files[name].git_id == _git_id((self.folder / name).read_bytes())
            for name, digest in self.digests.items()
        )


def create(api: HfApi, repo_id: str, parcel: CommitFiles) -> None:
    """Create the repository if it is not there, and see that it is as private as it should be.

    Raises:
        UserError: it is public although it must be private.
    """
    api.create_repo(repo_id, private=parcel.private, exist_ok=True)
    parcel.require_private(api.model_info(repo_id))


def commit(api: HfApi, repo_id: str, parcel: CommitFiles, title: str) -> str:
    """Make the repository hold the parcel's files and no others, in one commit.

    May be called again: files that are there already are not uploaded, and a commit that was
    made although its answer was lost is found.

    Returns:
        Its id.

    Raises:
        UserError: meanwhile somebody else has put other files there, made it public, or removed
            files of the parcel.
    """
    info = api.model_info(repo_id)
    require_ours(info)
    parcel.require_private(info)
    if not all((parcel.folder / name).is_file() for name in parcel.digests):
        raise UserError("publish", "files were removed while they were sent", "Publish again.")
    additions = []
    for name, digest in sorted(parcel.digests.items()):
        addition = CommitOperationAdd(path_in_repo=name, path_or_fileobj=parcel.folder / name)
        addition.upload_info.sha256 = bytes.fromhex(digest)
        additions.append(addition)
    stale = sorted(names_of(info) - parcel.digests.keys() - REPOSITORY_FILES)
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
    except (HfHubHTTPError, RuntimeError, OSError) as error:
        raise _cause(error, repo_id) from None
    return str(made.oid)


def _cause(error: BaseException, repo_id: str) -> BaseException:
    """Why an upload failed: files go up in threads, and through a library of its own (xet)."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, (TryAgainError, HfHubHTTPError)):
        cause = cause.__cause__
    if cause is not None:
        changed = isinstance(cause, HfHubHTTPError) and cause.response.status_code == _CONFLICT
        return TryAgainError(f"{repo_id} was changed meanwhile") if changed else cause
    words = " ".join(redact(str(error)).split())[:300]
    if isinstance(error, PermissionError):  # xet's own, among others
        return UserError("HF_TOKEN", f"the upload was refused: {words}", "Sign in again.")
    if isinstance(error, OSError) and not isinstance(error, (ConnectionError, TimeoutError)):
        return error  # of this machine's disk
    return TryAgainError(f"the upload broke off ({type(error).__name__}: {words})")


def require_whole(api: HfApi, repo_id: str, revision: str, parcel: CommitFiles) -> None:
    """See that a commit holds the very files of a parcel, for the right readers.

    Raises:
        UserError: it does not.
    """
    parcel.require_private(api.model_info(repo_id, revision=revision))
    if not parcel.are(list_files(api, repo_id, revision)):
        raise UserError(
            "publish", f"{repo_id} does not hold at {revision[:8]} what was sent", "Publish again."
        )


def tag_commit(api: HfApi, repo_id: str, tag: str, revision: str) -> None:
    """Put the tag on a commit; one that is there already stays."""
    api.create_tag(repo_id, tag=tag, revision=revision, exist_ok=True)


def tagged(api: HfApi, repo_id: str, tag: str) -> ModelInfo | None:
    """The repository at a tag; None where there is no such tag."""
    try:
        return api.model_info(repo_id, revision=tag)
    except RevisionNotFoundError:
        return None


def _git_id(data: bytes) -> str:
    """The id that git gives a file; such files are small."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
