"""Opening a dataset, wherever it is, and finding its columns."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memshield.config.file import Config
from memshield.config.schema import BUILT_IN
from memshield.errors import UserError
from memshield.network import NO_ANSWER, Token, asking

if TYPE_CHECKING:
    import datasets

CAPTION_NAMES = ("text", "caption", "captions", "prompt", "description")
LABEL_NAMES = ("label", "labels", "class", "fine_label", "category")
IMAGE_NAMES = ("image", "img", "picture", "pixel_values")


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


@dataclass(frozen=True)
class Columns:
    """Names of the columns used; None where the dataset has no such column."""

    image: str
    caption: str | None
    label: str | None


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

    rows: datasets.Dataset
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
        """What is stored for the pictures of several rows; None for a path outside `roots`.

        A table can name any file of the machine, another user's pictures too.
        """
        return [self._confined(stored) for stored in self.rows[rows][self.columns.image]]

    def _confined(self, stored: Any) -> Any:
        if not isinstance(stored, dict) or stored.get("bytes") or stored.get("path") is None:
            return stored
        path = Path(stored["path"])
        forms = (Path(os.path.abspath(path)), path.resolve())
        inside = any(form.is_relative_to(root) for form in forms for root in self.roots)
        return stored if inside else None

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


def open_source(settings: SourceSettings, token: Token = None) -> Source:
    """Open a dataset; nothing is decoded.

    Args:
        settings: which one.
        token: the Hub is asked with; see `memshield.network.Token`.

    Raises:
        UserError: it does not exist, is empty, needs a token, or lacks a column.
    """
    revision = _pin(settings, token)
    rows = _open(settings, revision, token)
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
    return Source(rows, columns, there, revision, _roots(settings))


def _roots(settings: SourceSettings) -> tuple[Path, ...]:
    import datasets
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = [Path(HF_HUB_CACHE), Path(datasets.config.HF_DATASETS_CACHE)]
    local = Path(str(settings.dataset_name or settings.train_data_dir)).expanduser()
    if local.exists():
        # What lies in a folder of the user's own; caches are for what came from the Hub.
        folders = [local if local.is_dir() else local.parent]
    absolute = [Path(os.path.abspath(folder)) for folder in folders]
    return tuple(dict.fromkeys([*absolute, *(folder.resolve() for folder in absolute)]))


def _pin(settings: SourceSettings, token: Token) -> str | None:
    """The commit that a dataset on the Hub stands at, so that a resumed run reads the same.

    What the Hub refuses is refused here: the datasets library would go on with what it finds in
    its cache, which may be another account's private dataset.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    name = settings.dataset_name
    if name is None or name == BUILT_IN or Path(name).expanduser().exists():
        return None
    if not _is_repo_id(name):
        return settings.dataset_revision
    with asking("dataset_name", name, "dataset", settings.dataset_revision, token):
        try:
            info = HfApi().dataset_info(name, revision=settings.dataset_revision, token=token)
            if info.gated:
                HfApi().auth_check(name, repo_type="dataset", token=token)
        except HfHubHTTPError:
            raise
        except NO_ANSWER:
            # Opening it tells what is wrong, or finds it in the cache.
            return settings.dataset_revision
    refuse_script("dataset_name", info.id, [file.rfilename for file in info.siblings or ()])
    return info.sha


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


def _open(settings: SourceSettings, revision: str | None, token: Token) -> datasets.Dataset:
    if settings.dataset_name == BUILT_IN:
        return _digits()
    import datasets
    from httpx2 import TransportError
    from huggingface_hub.errors import HfHubHTTPError

    field = settings.field
    named = str(settings.dataset_name or settings.train_data_dir)
    path = Path(named).expanduser()
    if settings.dataset_name is not None and not path.exists() and not _is_repo_id(named):
        raise UserError(
            field, f"{named!r} is neither a file or folder here nor a Hub id", "Check the name."
        )
    if settings.train_data_dir is not None and not path.is_dir():
        raise UserError(field, f"there is no folder {named}", "Check the path.")
    try:
        opened = _load(path, named, settings, revision, token)
    except UserError:
        raise
    except datasets.exceptions.DatasetNotFoundError as error:
        raise UserError(field, _one_line(error), _ACCESS) from None
    except HfHubHTTPError as error:
        raise UserError(field, f"the Hub refused {named}: {_one_line(error)}", _ACCESS) from None
    except FileNotFoundError as error:
        raise UserError(field, f"no pictures found in {named}: {_one_line(error)}", "") from None
    except ValueError as error:
        wrong = "dataset_split" if "Unknown split" in str(error) else field
        raise UserError(wrong, f"cannot open {named}: {_one_line(error)}", "") from None
    except (TransportError, ConnectionError) as error:
        raise UserError(
            field, f"the Hub cannot be reached ({type(error).__name__})", "Check the network."
        ) from None
    except (datasets.exceptions.DatasetGenerationError, IndexError) as error:
        # The library's own words for a wrong split, a wrong configuration, unreadable files.
        raise UserError(field, f"cannot open {named}: {_one_line(error)}", "") from None
    if isinstance(opened, datasets.DatasetDict):
        if settings.dataset_split not in opened:
            raise UserError(
                "dataset_split",
                f"{named} has no split {settings.dataset_split!r}",
                f"It has: {', '.join(opened)}.",
            )
        opened = opened[settings.dataset_split]
    elif settings.dataset_split != "train" and opened.split != settings.dataset_split:
        raise UserError(
            "dataset_split", f"{named} has no split {settings.dataset_split!r}", "Leave it out."
        )
    return opened


_ACCESS = (
    "Check the name; a private or gated dataset needs HF_TOKEN (or `hf auth login`) "
    "with access to it."
)


def _load(
    path: Path, named: str, settings: SourceSettings, revision: str | None, token: Token
) -> Any:
    import datasets

    split = settings.dataset_split
    if path.exists():
        # It would speak of downloads where files are only copied.
        datasets.disable_progress_bars()
    if path.is_file():
        return datasets.load_dataset(_builder_of(path), data_files=str(path), split="train")
    if path.is_dir():
        if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
            return datasets.load_from_disk(str(path))
        has_parquet = any(path.rglob("*.parquet"))
        builder = "parquet" if has_parquet else "imagefolder"
        return datasets.load_dataset(builder, data_dir=str(path), split=split)
    return datasets.load_dataset(
        named, settings.dataset_config_name, split=split, revision=revision, token=token
    )


def _builder_of(path: Path) -> str:
    if path.suffix != ".parquet":
        raise UserError(
            "dataset_name",
            f"{path.name} is not a parquet file",
            "Give a .parquet file or a folder.",
        )
    return "parquet"


def _is_repo_id(name: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not name.startswith(".")


def _digits() -> datasets.Dataset:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 grey: pictures that need no network."""
    import datasets
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)}
    )
    pictures = [Image.fromarray(picture) for picture in pixels]
    return datasets.Dataset.from_dict(
        {"image": pictures, "label": digits.target.tolist()}, features=features
    )


def choose_columns(
    features: Mapping[str, Any],
    image: str | None = None,
    caption: str | None = None,
    label: str | None = None,
) -> Columns:
    """The columns named, or else those that types and usual names point to.

    Args:
        features: type of every column, as the datasets library has it.
        image, caption, label: names that were given; None for those that were not.

    Raises:
        UserError: a named column is missing, or no picture column or several were found; the
            message lists the columns that there are.
    """
    import datasets

    there = f"The dataset has: {', '.join(features)}."
    named = {"image_column": image, "caption_column": caption, "label_column": label}
    for field, name in named.items():
        if name is not None and name not in features:
            raise UserError(field, f"there is no column {name!r}", there)
    if image is None:
        found = [c for c, f in features.items() if isinstance(f, datasets.Image)]
        found = found or [c for c in IMAGE_NAMES if c in features]
        usual = [c for c in IMAGE_NAMES if c in found]
        if len(found) > 1 and usual:
            found = usual[:1]
        if len(found) != 1:
            what = "several columns of pictures" if found else "no column of pictures"
            raise UserError("image_column", f"{what} in the dataset", f"Name one. {there}")
        image = found[0]
    _require_pictures(features[image], image, there)
    caption = caption or _usual(features, CAPTION_NAMES)
    if label is None:
        classes = [c for c, f in features.items() if isinstance(f, datasets.ClassLabel)]
        label = classes[0] if classes else _usual(features, LABEL_NAMES)
    return Columns(image, caption, None if label in (image, caption) else label)


def _require_pictures(feature: Any, name: str, there: str) -> None:
    """Refuse a column that cannot hold pictures before anything is decoded."""
    import datasets

    if isinstance(feature, datasets.Image):
        return
    is_bytes = isinstance(feature, datasets.Value) and feature.dtype in ("binary", "large_binary")
    is_struct = isinstance(feature, dict) and "bytes" in feature
    if not is_bytes and not is_struct:
        raise UserError("image_column", f"{name!r} holds {feature}, not pictures", there)


def _usual(features: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in features), None)


def first_caption(value: Any) -> str:
    """A stored caption as text: "" where it is missing, the first where there are several."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    return "" if value is None else str(value)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]
