"""How the datasets library is asked for files and folders of this machine."""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from memshield.data.shards import is_shard
from memshield.errors import UserError

_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".xlsx")
_ALL = {"train": "**"}


def builder_of(path: Path, build: Callable[..., Any]) -> Callable[..., Any]:
    """What makes the builder of a file or folder; it takes further settings of that builder.

    Args:
        path: a file, or a folder that `save_to_disk` did not write.
        build: `load_dataset_builder`.

    Raises:
        UserError: a file of another kind.
    """
    # The library reads every path as a pattern, in which brackets, stars and question marks count.
    if path.is_file():
        # Not resolved: what a link leads to may have no name that tells its kind.
        return partial(build, _form_of_file(path), data_files=glob.escape(str(path.absolute())))
    form = _form_of_folder(path)
    by_words = partial(build, form, data_dir=glob.escape(str(path.resolve())))
    if form != "imagefolder" or _is_laid_out(path):
        return by_words
    # Words such as train and test in names are splits to the library, which drops all files
    # without one as soon as a single name has one: a class of trains, a picture of a "beach test".
    whole = partial(by_words, data_files=_ALL)
    left_out = _pictures(whole()) - _pictures(by_words())
    return whole if left_out else by_words


def _is_laid_out(folder: Path) -> bool:
    """Whether folders name splits: what was put aside is not trained on for a stray picture."""
    from datasets.data_files import SPLIT_KEYWORDS

    names = {found.name.lower() for found in folder.iterdir() if found.is_dir()}
    return sum(not names.isdisjoint(words) for words in SPLIT_KEYWORDS.values()) > 1


def _pictures(builder: Any) -> set[str]:
    from datasets.packaged_modules.imagefolder.imagefolder import IMAGE_EXTENSIONS

    by_split: Mapping[str, Sequence[str]] = builder.config.data_files or {}
    return {
        file
        for files in by_split.values()
        for file in files
        if PurePosixPath(file).suffix.lower() in (*IMAGE_EXTENSIONS, ".zip")
    }


def _form_of_file(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(".parquet"):
        return "parquet"
    if name.endswith(".zip"):
        return "imagefolder"
    if is_shard(name):
        return "webdataset"
    if name.endswith(_TABLES):
        raise UserError(
            "dataset_name",
            f"{path.name} is a table of text, and pictures cannot be in it",
            "Name it metadata.csv or metadata.jsonl, with the pictures' names in its column "
            "file_name, put it beside them, and give the folder as train_data_dir.",
        )
    raise UserError(
        "dataset_name",
        f"{path.name} is not a parquet, zip or tar file",
        "Give one of these, or a folder.",
    )


def _form_of_folder(path: Path) -> str:
    from datasets.packaged_modules.imagefolder.imagefolder import IMAGE_EXTENSIONS

    names = [found.name.lower() for found in path.rglob("*")]
    if any(name.endswith(".parquet") for name in names):
        return "parquet"
    # Pictures in the open go before shards, which may be a copy of them.
    if any(map(is_shard, names)) and not any(
        name.endswith(tuple(IMAGE_EXTENSIONS)) for name in names
    ):
        return "webdataset"
    return "imagefolder"
