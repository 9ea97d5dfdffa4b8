"""Describes a dataset on the Hub, and which part of it a training would use. No download."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from huggingface_hub import DatasetInfo

from memshield.data.columns import Columns, choose_columns, names_only
from memshield.errors import UserError
from memshield.hub.account import require_token
from memshield.hub.catalog.access import (
    card_of,
    look_up_dataset,
    may_read,
    require_id,
)
from memshield.hub.catalog.card_splits import declared_splits
from memshield.hub.catalog.dataset_description import (
    DatasetColumn,
    DatasetDescription,
    DatasetSplit,
)
from memshield.hub.catalog.formats import FORMATS, Opened, opening
from memshield.hub.catalog.license import read_license
from memshield.network import Token, page_of


def describe_dataset(
    repo_id: str, config: str | None = None, revision: str | None = None, *, token: Token
) -> DatasetDescription:
    """Look a dataset up; its card, footers and metadata files are all that is read.

    Args:
        repo_id: owner/name, or the address of its page.
        config: name of the configuration; None for the default one, or else the first.
        revision: branch, tag or commit; None for its main branch.
        token: see `memshield.network.Token`.

    Raises:
        UserError: there is no such dataset, configuration or revision, it is private, it has no
            data files or a loading script, its files are broken, or the Hub cannot be asked.
    """
    name, token = require_id(repo_id, "dataset"), require_token(token)
    info = look_up_dataset(name, revision or None, token)
    outside = _from_outside(info, config)
    if not may_read(info, "dataset", token):
        return outside
    with opening(info, config or None, token) as opened:
        return _looked_into(outside, opened)


def _looked_into(outside: DatasetDescription, opened: Opened) -> DatasetDescription:
    files, reader = opened.files, opened.reader
    features = files.features
    if features is None and reader is not None:
        features = reader.features()
    splits = []
    for split, paths in files.splits.items():
        rows = files.rows.get(split)
        if rows is None and reader is not None:
            rows = reader.count(split)
        splits.append(DatasetSplit(split, rows, sum(opened.remote.sizes[path] for path in paths)))
    used, unused = _used(features, opened)
    return replace(
        outside,
        configs=files.configs,
        config=files.config,
        format=files.format,
        splits=tuple(splits),
        columns=tuple(_column(name, feature) for name, feature in (features or {}).items()),
        used=used,
        unused=unused,
        has_access=True,
    )


def _used(features: Mapping[str, Any] | None, opened: Opened) -> tuple[Columns | None, str | None]:
    if features is None:
        return None, (
            f"its files ({opened.files.format}) cannot be looked into before they are downloaded; "
            f"these can: {', '.join(FORMATS)}"
        )
    try:
        used = choose_columns(features)
        if opened.reader is not None and opened.reader.holds_only_paths(used.image):
            raise names_only(used.image, "it holds paths or web addresses")
        return used, None
    except UserError as error:
        return None, error.on_page


def _column(name: str, feature: Any) -> DatasetColumn:
    import datasets

    if isinstance(feature, datasets.Image):
        return DatasetColumn(name, "image", "Image")
    if isinstance(feature, datasets.ClassLabel):
        return DatasetColumn(name, "class label", "ClassLabel", tuple(feature.names))
    one = feature.feature if isinstance(feature, (datasets.List, datasets.LargeList)) else feature
    shown = str(feature.dtype if isinstance(feature, datasets.Value) else feature)
    if isinstance(one, datasets.Value) and one.dtype in ("string", "large_string"):
        return DatasetColumn(name, "text", shown)
    return DatasetColumn(name, "other", shown)


def _from_outside(info: DatasetInfo, config: str | None) -> DatasetDescription:
    """The public part of the description, from the Hub's API."""
    declared = declared_splits(card_of(info))
    chosen = config or next(iter(declared), None)
    return DatasetDescription(
        id=info.id,
        sha=str(info.sha),
        page=page_of("dataset", info.id),
        configs=tuple(declared),
        config=chosen,
        format=None,
        splits=tuple(
            DatasetSplit(name, rows, None) for name, rows in declared.get(chosen or "", {}).items()
        ),
        columns=(),
        used=None,
        unused="its conditions have to be accepted first",
        license=read_license(card_of(info), info.tags, page_of("dataset", info.id)),
        gated=bool(info.gated),
        has_access=False,
        private=bool(info.private),
        downloads=info.downloads or 0,
        likes=info.likes or 0,
    )
