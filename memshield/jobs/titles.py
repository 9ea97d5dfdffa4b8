"""Titles of jobs: what people call their runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from memshield.config.file import Config
from memshield.config.schema import BUILT_IN
from memshield.errors import UserError
from memshield.jobs.folders import Folders
from memshield.jobs.records import Job
from memshield.jobs.store import Store

MOST = 80


def default_title(config: Config, owner: str, folders: Folders) -> str:
    """The title of a new training, from its model and its pictures."""
    base = config.pretrained_model_name_or_path
    model = Path(base).name if base else "new model"
    folder = config.train_data_dir
    if folder is not None:
        own = Path(folder).resolve().is_relative_to(folders.uploads(owner))
        pictures = "own pictures" if own else Path(folder).name  # an upload's is at random
    elif config.dataset_name == BUILT_IN:
        pictures = "handwritten digits"
    else:
        pictures = Path(config.dataset_name or "pictures").name
    return f"{model} on {pictures}"[:MOST]


def plain_title(title: str) -> str:
    """The title of a run's plain twin."""
    return f"{title[: MOST - 7]}, plain"


class Titles:
    """Changes titles.

    Args:
        store: of the server.
        get: a job of an owner; refuses that of somebody else.
    """

    def __init__(self, store: Store, get: Callable[[str, str], Job]) -> None:
        self._store = store
        self._get = get

    def change(self, owner: str, id: str, text: object) -> str:
        """Change the title of an owner's job; what it is now.

        Raises:
            UserError: the owner has no such job, or the text is no title.
        """
        job = self._get(owner, id)
        title = " ".join(text.split()) if isinstance(text, str) else ""
        if not title:
            raise UserError("Name", "is empty", "Type a name.")
        if len(title) > MOST or not title.isprintable():
            raise UserError("Name", f"has {len(title)} characters, or some that cannot be seen",
                            f"Use up to {MOST} letters.")  # fmt: skip
        self._store.rename(job, title)
        return title
