"""The files of a repository, as its tree lists them.

Every Hub's tree has their sizes and ids; a repository's record has them on the Hugging Face Hub
alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.hf_api import RepoFile


@dataclass(frozen=True)
class ListedFile:
    """A file of a repository.

    Attributes:
        size: bytes.
        sha256: of its content, where it is stored as a large file; else None.
        git_id: what git calls its content, where it is not; else that of a pointer.
    """

    size: int
    sha256: str | None
    git_id: str


def list_files(api: HfApi, repo_id: str, revision: str | None) -> Mapping[str, ListedFile]:
    """Every file of a model repository at a revision, by path.

    Raises:
        HfHubHTTPError: the Hub refuses.
    """
    try:
        entries = list(api.list_repo_tree(repo_id, recursive=True, revision=revision))
    except EntryNotFoundError:  # nothing was committed yet
        return {}
    return {
        entry.path: ListedFile(
            entry.size, entry.lfs.sha256 if entry.lfs else None, str(entry.blob_id)
        )
        for entry in entries
        if isinstance(entry, RepoFile)
    }
