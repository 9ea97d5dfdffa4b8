"""Opens a dataset in whatever form it is stored: all its rows, pictures still as they are."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from memshield.config.schema import BUILT_IN
from memshield.data.archives import ArchiveError, ZipMember, folder_labels, require_safe_zip
from memshield.data.digits import IMAGE, LABEL, Digits
from memshield.data.local import builder_of
from memshield.data.shards import is_shard, open_shards
from memshield.errors import UserError
from memshield.network import Token
from memshield.paths import expanded

if TYPE_CHECKING:
    import datasets

_HUB = "hf://"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Place:
    """Where the rows of a dataset are.

    Attributes:
        setting: the one that names it, for messages.
        name: a file, a folder, the built-in set, or an id on the Hub.
        config_name: its configuration there; None for the default one.
        split: which rows, such as train or train[:100].
        revision: its commit on the Hub; None for local data.
        files: paths in its repository, as far as they are known; () for local data.
        token: see `memshield.network.Token`.
        cache: folder for what is made of local files; None for the library's own.
    """

    setting: str
    name: str
    config_name: str | None
    split: str
    revision: str | None
    files: tuple[str, ...]
    token: Token = field(repr=False)
    cache: Path | None = None


def open_rows(place: Place) -> datasets.Dataset:
    """All rows of a dataset.

    Raises:
        UserError: it does not exist, cannot be read, is unsafe to read, or has no such split.
    """
    if place.name == BUILT_IN and place.setting == "dataset_name":
        return _digits()
    import datasets
    from httpx2 import TransportError
    from huggingface_hub.errors import HfHubHTTPError

    field, named = place.setting, place.name
    path = expanded(named)
    if field == "dataset_name" and not path.exists() and not is_repo_id(named):
        raise UserError(
            field, f"{named!r} is neither a file or folder here nor a Hub id", "Check the name."
        )
    if field == "train_data_dir" and not path.is_dir():
        remedy = "Name a single file as dataset_name." if path.exists() else "Check the path."
        raise UserError(field, f"there is no folder {named}", remedy)
    _require_split(place.split)
    try:
        return _load(path, place)
    except UserError:
        raise
    except datasets.exceptions.DatasetNotFoundError as error:
        raise UserError(field, _one_line(error), *_ACCESS) from None
    except HfHubHTTPError as error:
        raise UserError(field, f"the Hub refused {named}: {_one_line(error)}", *_ACCESS) from None
    except FileNotFoundError as error:
        raise UserError(
            field, f"no pictures found in {named}: {_one_line(error)}",
            "Name a folder, a dataset or a split that has pictures.",
        ) from None  # fmt: skip
    except ValueError as error:
        if "corresponds to no data" in str(error):
            raise UserError(
                field, f"no pictures found in {named}",
                "Name a folder, a dataset or a split that has pictures.",
            ) from None  # fmt: skip
        if path.exists() and _is_damaged(error):
            raise _damaged(field, named, error) from None
        if path.exists() and _is_unread_table(error):
            raise _unread_table(field, named, error) from None
        is_split = any(words in str(error) for words in _WRONG_SPLIT)
        wrong = "dataset_split" if is_split else field
        raise UserError(wrong, f"cannot open {named}: {_one_line(error)}", *_PARTS) from None
    except (TransportError, ConnectionError) as error:
        raise UserError(
            field, f"the Hub cannot be reached ({type(error).__name__})", "Check the network."
        ) from None
    except (datasets.exceptions.DatasetGenerationError, IndexError) as error:
        # The library's own words for a wrong split, a wrong configuration, unreadable files. Its
        # cause may repeat a row of a table, and with it a caption.
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_ROOM:
            raise error.__cause__ from None  # this machine's, and nothing of the dataset's
        if isinstance(error.__cause__, ArchiveError):
            told = _one_line(error.__cause__)
            raise UserError(field, f"cannot open {named}: {told}", "") from None
        if path.exists() and _is_damaged(error):
            raise _damaged(field, named, error) from None
        if path.exists() and _is_unread_table(error):
            raise _unread_table(field, named, error) from None
        raise UserError(field, f"cannot open {named}: {_one_line(error)}", *_PARTS) from None


_WRONG_SPLIT = ("Unknown split", "Requested slice")
"""How the library begins to say that rows were asked for which are not there."""


def _require_split(split: str) -> None:
    import datasets

    try:
        datasets.ReadInstruction.from_spec(split)
    except ValueError as error:
        raise UserError(
            "dataset_split", f"{split!r} names no split: {_one_line(error)}",
            "Write a split or a part of it: train, train[:100], train[:80%], train+test.",
        ) from None  # fmt: skip


def _is_damaged(error: BaseException) -> bool:
    """Whether a library could not make sense of a file's bytes."""
    import zipfile

    import pyarrow as pa

    kinds = (pa.ArrowInvalid, zipfile.BadZipFile)
    return isinstance(error, kinds) or isinstance(error.__cause__, kinds)


def _damaged(field: str, named: str, error: BaseException) -> UserError:
    words = _one_line(error.__cause__ or error)
    return UserError(
        field, f"{named} is damaged or not whole: {words}", "Fetch it or write it again."
    )


def _is_unread_table(error: BaseException) -> bool:
    """Whether a library could not make sense of the table of file names and captions."""
    cause = error.__cause__ or error
    if isinstance(cause, UnicodeDecodeError):
        return True
    # pandas reads the tables, and comes with the library only.
    is_of_pandas = type(cause).__module__ == "pandas.errors"
    return isinstance(cause, ValueError) and (is_of_pandas or "`file_name`" in str(cause))


def _unread_table(field: str, named: str, error: BaseException) -> UserError:
    words = _one_line(error.__cause__ or error)
    return UserError(
        field,
        f"the table of captions in {named} cannot be read: {words}",
        "Save it in UTF-8, the pictures' names as file_name: metadata.csv with commas between the "
        "columns and quotes around captions that hold commas, or metadata.jsonl with one object a "
        "line.",
    )


_ACCESS = (
    "Check the name; a private or gated dataset needs HF_TOKEN (or `hf auth login`) "
    "with access to it.",
    "Check the name. A private or gated dataset needs an account that has access to it.",
)
"""Remedy and advice."""
_PARTS = (
    "Check dataset_split and dataset_config_name; `python -m memshield describe dataset ID` lists "
    "those of a dataset on the Hub.",
    "Check the split and the configuration.",
)
"""The same."""


def _load(path: Path, place: Place) -> datasets.Dataset:
    import datasets

    cache = None if place.cache is None else str(place.cache)
    build = partial(datasets.load_dataset_builder, token=place.token, cache_dir=cache)
    if path.exists():
        # It would speak of downloads where files are only copied.
        datasets.disable_progress_bars()
        if any((path / name).exists() for name in _SAVED):
            return _saved(path, place)
        return _prepared(builder_of(path, build), place)
    if not place.files:
        # The Hub does not answer: what an earlier download left of it.
        cached = _snapshot(place)
        names = [] if cached is None else [found.name for found in cached.rglob("*")]
        if any(map(_is_archive, names)):
            return _prepared(partial(build, str(cached), place.config_name), place, f"{cached}/")
    if any(map(_is_archive, place.files)):
        there = partial(build, place.name, place.config_name, revision=place.revision)
        return _prepared(there, place, _HUB)
    return datasets.load_dataset(
        place.name,
        place.config_name,
        split=place.split,
        revision=place.revision,
        token=place.token,
    )


def _saved(path: Path, place: Place) -> datasets.Dataset:
    """A split of what `save_to_disk` wrote, or a part of it."""
    import datasets

    opened = datasets.load_from_disk(str(path))
    if isinstance(opened, datasets.Dataset):
        # One that was saved alone is train, too, whatever it was called.
        whole = dict.fromkeys(("train", str(opened.split or "train")), opened)
    else:
        whole = {str(name): rows for name, rows in opened.items()}
    return _part_of(place, list(whole), whole.__getitem__)


def _snapshot(place: Place) -> Path | None:
    """The folder of a dataset's files in the Hub's cache; None without one."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                place.name, repo_type="dataset", revision=place.revision, local_files_only=True
            )
        )
    except LocalEntryNotFoundError:
        return None


_SAVED = ("dataset_dict.json", "state.json")


def _is_archive(name: str) -> bool:
    return name.lower().endswith(".zip") or is_shard(name)


def _prepared(build: Callable[..., Any], place: Place, root: str | None = None) -> datasets.Dataset:
    """The rows of a dataset that may have archives; each is looked through before it is read.

    Args:
        build: makes the library's builder, with settings of its own.
        place: of the dataset.
        root: what the names of all of its files start with; None for a person's own files.
    """
    from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder
    from datasets.packaged_modules.webdataset.webdataset import WebDataset

    builder = build()
    by_split: Mapping[str, Sequence[str]] = {
        str(name): list(files) for name, files in (builder.config.data_files or {}).items()
    }
    every = [file for files in by_split.values() for file in files]
    for file in every:
        # A card may name any file of this machine.
        if root is not None and (not file.startswith(root) or ".." in file.split("/")):
            raise UserError(
                place.setting, f"{place.name} takes data from elsewhere ({file})", "Choose another."
            )
    if isinstance(builder, WebDataset):
        return _shards(by_split, place)
    archives = [file for file in every if file.lower().endswith(".zip")]
    for file in archives:
        require_safe_zip(_fetched(file, place.token))
    is_folder = bool(archives) and isinstance(builder, ImageFolder)
    with_labels = is_folder and builder.config.drop_labels is not True
    if with_labels:
        # The library takes the name of the folder that an archive lies in for a class.
        builder = build(drop_labels=True)
    builder.download_and_prepare()
    rows = builder.as_dataset(split=place.split)
    return _pictures_of(rows, with_labels) if is_folder else rows


def _pictures_of(rows: datasets.Dataset, with_labels: bool) -> datasets.Dataset:
    """Without what lies beside the pictures in an archive, which the library takes for rows."""
    import datasets
    from datasets.packaged_modules.imagefolder.imagefolder import IMAGE_EXTENSIONS

    if rows.column_names != ["image"]:
        return rows  # a metadata file names the pictures
    stored = rows.cast_column("image", datasets.Image(decode=False))["image"]
    members = [ZipMember.of(one["path"] or "") for one in stored]
    names = [
        one["path"] if member is None else member.name
        for one, member in zip(stored, members, strict=True)
    ]
    kept = [
        row
        for row, name in enumerate(names)
        if PurePosixPath(name).suffix.lower() in IMAGE_EXTENSIONS
    ]
    rows = rows.select(kept)
    labels = folder_labels([names[row] for row in kept]) if with_labels else None
    if labels is None:
        return rows
    classes = datasets.ClassLabel(names=sorted(set(labels)))
    numbers = [classes.str2int(label) for label in labels]
    return rows.add_column("label", numbers, feature=classes)


def _shards(by_split: Mapping[str, Sequence[str]], place: Place) -> datasets.Dataset:

    def opened(name: str) -> datasets.Dataset:
        # A folder may hold other files beside its shards.
        shards = [file for file in by_split[name] if is_shard(file)] or by_split[name]
        return open_shards([_fetched(file, place.token) for file in shards])

    return _part_of(place, list(by_split), opened)


def _part_of(
    place: Place, names: Sequence[str], opened: Callable[[str], datasets.Dataset]
) -> datasets.Dataset:
    """A split by its name, or parts such as train[:80%]+test."""
    import datasets

    split = place.split
    if split in names:
        return opened(split)
    if not set(split) & set("[+"):
        raise UserError(
            "dataset_split", f"{place.name} has no split {split!r}", f"It has: {', '.join(names)}."
        )
    whole = {name: opened(name) for name in names}
    parts = datasets.ReadInstruction.from_spec(split).to_absolute(
        {name: len(rows) for name, rows in whole.items()}
    )
    return datasets.concatenate_datasets(
        [whole[part.splitname].select(range(part.from_, part.to)) for part in parts]
    )


def _fetched(file: str, token: Token) -> Path:
    """A data file on this machine."""
    if not file.startswith(_HUB):
        return Path(file)
    from huggingface_hub import HfFileSystem, hf_hub_download

    place: Any = HfFileSystem(token=token).resolve_path(file)
    return Path(
        hf_hub_download(
            place.repo_id,
            place.path_in_repo,
            repo_type="dataset",
            revision=place.revision,
            token=token,
        )
    )


def is_repo_id(name: str) -> bool:
    """Whether this has the form of an id on the Hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not name.startswith(".")


def _digits() -> datasets.Dataset:
    import datasets
    from PIL import Image

    digits = Digits.load()
    features = datasets.Features(
        {IMAGE: datasets.Image(), LABEL: datasets.ClassLabel(num_classes=10)}
    )
    pictures = [Image.fromarray(picture) for picture in digits.images]
    return datasets.Dataset.from_dict({IMAGE: pictures, LABEL: digits.labels}, features=features)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]
