"""The results of a search."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from memshield.families.kinds import FamilyName
from memshield.hub.catalog.license import License


@dataclass(frozen=True)
class ModelFound:
    """A model that can be fine-tuned, as far as a list tells.

    Attributes:
        id: owner/name.
        family: the module of `memshield.families` that trains it.
        pipeline_class: the diffusers class it is saved as.
        parameters: number of weights in all of its safetensors files; None where the Hub has not
            counted them, as for most pipelines.
        license: as its card says; None where it says nothing.
        gated: whether its files are handed out only to who has accepted conditions.
        private: whether only its owner sees it.
        downloads: in the last 30 days.
        likes: of all time.
        pipeline_tag: the task that the Hub lists it under, such as text-to-image; None for none.
        last_modified: when a commit was last made; None where the Hub does not say.
    """

    id: str
    family: FamilyName
    pipeline_class: str
    parameters: int | None
    license: License | None
    gated: bool
    private: bool
    downloads: int
    likes: int
    pipeline_tag: str | None
    last_modified: datetime | None


@dataclass(frozen=True)
class DatasetFound:
    """A dataset with pictures, as far as a list tells.

    Attributes:
        id: owner/name.
        rows: of all splits of its default configuration, or else its first, as its card says;
            None where it says nothing.
        size_category: the Hub's own estimate, such as 1K<n<10K; None for none.
        license: as its card says; None where it says nothing.
        gated: whether its files are handed out only to who has accepted conditions.
        private: whether only its owner sees it.
        downloads: in the last 30 days.
        likes: of all time.
        last_modified: when a commit was last made; None where the Hub does not say.
    """

    id: str
    rows: int | None
    size_category: str | None
    license: License | None
    gated: bool
    private: bool
    downloads: int
    likes: int
    last_modified: datetime | None


FoundT = TypeVar("FoundT", ModelFound, DatasetFound)


@dataclass(frozen=True)
class Page(Generic[FoundT]):
    """A part of a list.

    Attributes:
        items: of this part, the most downloaded first.
        offset: how many come before them.
        more: whether others come after them.
    """

    items: tuple[FoundT, ...]
    offset: int
    more: bool
