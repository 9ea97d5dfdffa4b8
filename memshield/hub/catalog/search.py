"""Searching the Hub for models that can be fine-tuned and for datasets of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import islice
from typing import Any

from huggingface_hub import DatasetInfo, HfApi, ModelInfo

from memshield.errors import UserError
from memshield.families.kinds import PIPELINES
from memshield.hub.account import require_token
from memshield.hub.catalog.access import card_of, is_address, require_id
from memshield.hub.catalog.card_splits import declared_rows
from memshield.hub.catalog.license import read_license
from memshield.hub.catalog.results import DatasetFound, FoundT, ModelFound, Page
from memshield.network import RepoType, Token, asking, page_of

LARGEST_LIMIT = 100
LARGEST_OFFSET = 10_000
LONGEST_TEXT = 200
_SIZE = "size_categories:"


def search_models(text: str, *, token: Token, limit: int = 20, offset: int = 0) -> Page[ModelFound]:
    """Pipelines of the supported classes, the most downloaded first.

    Args:
        text: a part of the id; "" for all.
        token: see `memshield.network.Token`; private models of its owner are found, too.
        limit: how many, 1 to 100.
        offset: how many to pass over.

    Raises:
        UserError: an argument out of range, or the Hub cannot be asked.
    """
    words = _require_sense(text, "model", limit, offset)
    token = require_token(token)
    with asking("search", "the search", token=token):
        # The Hub filters by one class at a time: every list comes sorted, and is read only as
        # far as the merged one needs it.
        lists = [_models(words, name, offset + limit + 1, token) for name in PIPELINES]
        return _page(merge(*lists, key=lambda found: -found.downloads), limit, offset)


def search_datasets(
    text: str, *, token: Token, limit: int = 20, offset: int = 0
) -> Page[DatasetFound]:
    """Datasets in which the Hub has seen pictures, the most downloaded first.

    Args:
        text: a part of the id; "" for all.
        token: see `memshield.network.Token`; private datasets of its owner are found, too.
        limit: how many, 1 to 100.
        offset: how many to pass over.

    Raises:
        UserError: an argument out of range, or the Hub cannot be asked.
    """
    words = _require_sense(text, "dataset", limit, offset)
    token = require_token(token)
    with asking("search", "the search", "dataset", token=token):
        found = HfApi().list_datasets(
            filter="modality:image",
            search=words,
            sort="downloads",
            limit=offset + limit + 1,
            expand=["cardData", "downloads", "gated", "lastModified", "likes", "private", "tags"],
            token=token,
        )
        return _page(map(_dataset, found), limit, offset)


def _models(text: str | None, name: str, most: int, token: Token) -> Iterator[ModelFound]:
    for info in HfApi().list_models(
        filter=["diffusers", f"diffusers:{name}"],
        search=text,
        sort="downloads",
        limit=most,
        expand=[
            "cardData", "downloads", "gated", "lastModified", "likes", "pipeline_tag", "private",
            "safetensors", "tags",
        ],
        token=token,
    ):  # fmt: skip
        yield _model(info, name)


def _model(info: ModelInfo, name: str) -> ModelFound:
    return ModelFound(
        id=info.id,
        family=PIPELINES[name],
        pipeline_class=name,
        parameters=None if info.safetensors is None else info.safetensors.total,
        pipeline_tag=info.pipeline_tag,
        **_common(info),
    )


def _dataset(info: DatasetInfo) -> DatasetFound:
    sizes = [tag.removeprefix(_SIZE) for tag in info.tags or () if tag.startswith(_SIZE)]
    return DatasetFound(
        id=info.id,
        rows=declared_rows(card_of(info)),
        size_category=sizes[0] if sizes else None,
        **_common(info),
    )


def _common(info: ModelInfo | DatasetInfo) -> dict[str, Any]:
    page = page_of("model" if isinstance(info, ModelInfo) else "dataset", info.id)
    return {
        "license": read_license(card_of(info), info.tags, page),
        "gated": bool(info.gated),
        "private": bool(info.private),
        "downloads": info.downloads or 0,
        "likes": info.likes or 0,
        "last_modified": info.last_modified,
    }


def _page(found: Iterable[FoundT], limit: int, offset: int) -> Page[FoundT]:
    # A model whose card bears a second class as a tag stands in two lists.
    distinct = _distinct(found)
    items = tuple(islice(distinct, offset, offset + limit))
    return Page(items, offset, next(distinct, None) is not None)


def _distinct(found: Iterable[FoundT]) -> Iterator[FoundT]:
    seen = set()
    for one in found:
        if one.id not in seen:
            seen.add(one.id)
            yield one


def _require_sense(text: str, repo_type: RepoType, limit: int, offset: int) -> str | None:
    """The text to search for; the id where the address of a page was pasted."""
    if not 1 <= limit <= LARGEST_LIMIT:
        raise UserError("limit", f"must lie in 1 to {LARGEST_LIMIT}, is {limit}", "")
    if not 0 <= offset <= LARGEST_OFFSET:
        raise UserError(
            "offset",
            f"must lie in 0 to {LARGEST_OFFSET}, is {offset}",
            "Search for something narrower.",
        )
    words = text.strip()
    if len(words) > LONGEST_TEXT or not words.isprintable():
        raise UserError(
            "search",
            f"the text is longer than {LONGEST_TEXT} letters or holds unprintable ones",
            "Give a part of the id, such as ddpm.",
        )
    return require_id(words, repo_type) if is_address(words) else words or None
