"""A dataset of pictures: which one, and its rows as training reads them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memshield.config.buckets import Size
from memshield.config.file import Config
from memshield.config.schema import BUILT_IN
from memshield.data.archives import ZipMember
from memshield.data.columns import Columns, choose_columns, first_caption, names_only
from memshield.data.digits import IMAGE, LABEL, Digits
from memshield.data.images import BadImage, NoPicture, size_of
from memshield.data.opening import Place, is_repo_id, open_rows
from memshield.errors import UserError
from memshield.network import NO_ANSWER, Token, asking
from memshield.paths import expanded

if TYPE_CHECKING:
    import datasets

_ROWS_LOOKED_AT = 16


@dataclass(frozen=True)
class SourceSettings:
    """Which pictures; every field is the setting of that name."""

    dataset_name: str | None = None
    dataset_config_name: str | None = None
    dataset_revision: str | None = None
    dataset_split: str = "train"
    train_data_dir: str | None = None
    image_column: str | None = None
    caption_column: str | None = None
    label_column: str | None = None
    max_train_samples: int | None = None
    seed: int = 0

    @classmethod
    def of(cls, config: Config) -> SourceSettings:
        """Those of a config."""
        return cls(**{field.name: getattr(config, field.name) for field in fields(cls)})

    @property
    def field(self) -> str:
        """The setting that names the dataset."""
        return "dataset_name" if self.dataset_name is not None else "train_data_dir"

    @property
    def names_columns(self) -> bool:
        """Whether a column is named; others are found by their types and usual names."""
        return bool(self.image_column or self.caption_column or self.label_column)


@dataclass(frozen=True)
class Source:
    """An open dataset: rows by number, pictures still as they are stored.

    Attributes:
        rows: the columns used, of every row.
        columns: their names.
        there: names of all columns of the dataset.
        revision: commit on the Hub that was opened; None for local data.
        roots: folders in which pictures that are stored as paths may lie.
    """

    rows: datasets.Dataset | Digits
    columns: Columns
    there: tuple[str, ...]
    revision: str | None = None
    roots: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def picture(self, row: int) -> Any:
        """What the dataset stores for the picture of a row; see `images.open_image`."""
        return self.pictures([row])[0]

    def pictures(self, rows: list[int]) -> list[Any]:
        """What is stored for the pictures of several rows; no path is followed out of `roots`.

        A table can name any file of the machine, another user's pictures too.
        """
        return [self._confined(stored) for stored in self.rows[rows][self.columns.image]]

    def some_sizes(self, most: int) -> list[Size]:
        """Heights and widths of so many pictures at most, spread evenly, from their headers."""
        found = []
        for row in sorted({len(self) * place // most for place in range(most)}):
            with suppress(*BadImage):
                found.append(size_of(self.picture(row)))
        return found

    def _confined(self, stored: Any) -> Any:
        if not isinstance(stored, dict) or stored.get("bytes") or stored.get("path") is None:
            return stored
        member = ZipMember.of(stored["path"])
        path = Path(stored["path"]) if member is None else member.archive
        forms = (Path(os.path.abspath(path)), path.resolve())
        if any(form.is_relative_to(root) for form in forms for root in self.roots):
            return stored if member is None else member
        if "://" in stored["path"]:
            return NoPicture("it is a web address, which is never fetched")
        return NoPicture("it is a path out of the dataset, which is not followed")

    def captions(self) -> list[str] | None:
        """The caption of every row, "" where it is missing; the first where there are several."""
        if self.columns.caption is None:
            return None
        return [first_caption(value) for value in self.rows[self.columns.caption]]

    def labels(self) -> list[int] | None:
        """The class of every row as a whole number, -1 where it is missing."""
        if self.columns.label is None:
            return None
        values = list(self.rows[self.columns.label])
        if all(value is None or isinstance(value, int) for value in values):
            return [-1 if value is None else int(value) for value in values]
        names = {
            name: i for i, name in enumerate(sorted({str(v) for v in values if v is not None}))
        }
        return [-1 if value is None else names[str(value)] for value in values]


def open_upload(settings: SourceSettings) -> Source:
    """Open a folder that somebody else brought, and keep nothing of it but itself on this disk.

    The datasets library writes a table with the captions and the names of the pictures. It stays
    open, and is gone when nobody holds the source any more.
    """
    with tempfile.TemporaryDirectory(prefix="memshield-", ignore_cleanup_errors=True) as cache:
        return open_source(settings, token=False, cache=Path(cache))


def open_source(settings: SourceSettings, token: Token = None, cache: Path | None = None) -> Source:
    """Open a dataset; nothing is decoded.

    Args:
        settings: which one.
        token: the Hub is asked with; see `memshield.network.Token`.
        cache: folder for what is made of local files; None for the library's own.

    Raises:
        UserError: it does not exist, is empty, needs a token, or lacks a column.
    """
    if settings.dataset_name == BUILT_IN and not settings.names_columns:
        return _built_in(settings)
    revision, files = _pin(settings, token)
    named = str(settings.dataset_name or settings.train_data_dir)
    rows = open_rows(
        Place(
            settings.field,
            named,
            settings.dataset_config_name,
            settings.dataset_split,
            revision,
            files,
            token,
            cache,
        )
    )
    columns = choose_columns(
        rows.features, settings.image_column, settings.caption_column, settings.label_column
    )
    there = tuple(rows.column_names)
    if len(rows) == 0:
        raise UserError(settings.field, "the dataset has no rows", "Choose another split or set.")
    import datasets

    rows = rows.select_columns([c for c in (columns.image, columns.caption, columns.label) if c])
    if isinstance(rows.features[columns.image], datasets.Image):
        # Decoding is ours: one broken picture must not end the reading of the others.
        rows = rows.cast_column(columns.image, datasets.Image(decode=False))
    if settings.max_train_samples is not None and settings.max_train_samples < len(rows):
        # As diffusers' examples do: shuffle with the seed, keep the first.
        rows = rows.shuffle(seed=settings.seed).select(range(settings.max_train_samples))
    source = Source(rows, columns, there, revision, _roots(settings))
    _require_stored(source)
    return source


def _built_in(settings: SourceSettings) -> Source:
    digits = Digits.load()
    if settings.max_train_samples is not None and settings.max_train_samples < len(digits):
        digits = digits.some(settings.max_train_samples, settings.seed)
    return Source(digits, Columns(IMAGE, None, LABEL), (IMAGE, LABEL))


def _require_stored(source: Source) -> None:
    """Refuse a dataset that names its pictures instead of holding them."""
    step = max(1, len(source) // _ROWS_LOOKED_AT)
    looked_at = source.pictures(list(range(0, len(source), step)))
    reasons = {one.reason for one in looked_at if isinstance(one, NoPicture)}
    if reasons and all(isinstance(one, NoPicture) for one in looked_at):
        raise names_only(source.columns.image, " or ".join(sorted(reasons)))


def _roots(settings: SourceSettings) -> tuple[Path, ...]:
    import datasets
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = [Path(HF_HUB_CACHE), Path(datasets.config.HF_DATASETS_CACHE)]
    local = expanded(str(settings.dataset_name or settings.train_data_dir))
    if local.exists():
        # What lies in a folder of the user's own; caches are for what came from the Hub.
        folders = [local if local.is_dir() else local.parent]
    absolute = [Path(os.path.abspath(folder)) for folder in folders]
    return tuple(dict.fromkeys([*absolute, *(folder.resolve() for folder in absolute)]))


def _pin(settings: SourceSettings, token: Token) -> tuple[str | None, tuple[str, ...]]:
    """The commit that a dataset on the Hub stands at, and its files; () where they are unknown.

    Pinned, so that a resumed run reads the same. What the Hub refuses is refused here: the datasets
    library would go on with what it finds in its cache, which may be another account's private
    dataset.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    name = settings.dataset_name
    if name is None or name == BUILT_IN or expanded(name).exists():
        return None, ()
    if not is_repo_id(name):
        return settings.dataset_revision, ()
    with asking("dataset_name", name, "dataset", settings.dataset_revision, token):
        try:
            info = HfApi().dataset_info(name, revision=settings.dataset_revision, token=token)
            if info.gated:
                HfApi().auth_check(name, repo_type="dataset", token=token)
        except HfHubHTTPError:
            raise
        except NO_ANSWER:
            # Opening it tells what is wrong, or finds it in the cache.
            return settings.dataset_revision, ()
    files = tuple(file.rfilename for file in info.siblings or ())
    refuse_script("dataset_name", info.id, files)
    return info.sha, files


def refuse_script(field: str, name: str, files: Collection[str]) -> None:
    """Refuse a dataset on the Hub that is loaded by a program of its own.

    Args:
        field: the setting that named it.
        name: owner/name.
        files: paths in its repository.

    Raises:
        UserError: it is.
    """
    script = f"{name.rpartition('/')[2]}.py"
    if script in files:
        raise UserError(
            field,
            f"{name} is loaded by a program of its own ({script}), which is never run",
            "Choose a dataset of parquet files or pictures; a copy or a branch may be one.",
        )
