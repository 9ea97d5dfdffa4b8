"""Where a run's model and pictures come from: what the Hub says of them, licence and privacy."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from memshield.config import Config
from memshield.data.source import BUILT_IN
from memshield.hub.catalog.access import card_of
from memshield.hub.catalog.license import License, read_license
from memshield.hub.manifest import Base, Dataset

_WITHHELD = Dataset(name=None, revision=None, on_hub=False)


@dataclass(frozen=True)
class Origins:
    """What a published model was made of.

    Attributes:
        base: the pipeline; None where the model was trained from scratch.
        license: of the base, or as the user states it; None where it is not known.
        dataset: withheld where it is private or local.
        private: what of it is private on the Hub, in words; its model may not be public.
        pipeline_class: of the base, where it is known.
    """

    base: Base | None
    license: License | None
    dataset: Dataset
    private: tuple[str, ...]
    pipeline_class: str | None = None


def look_up_origins(api: HfApi, config: Config) -> Origins:
    """Ask the Hub about a resolved config's model and dataset.

    What cannot be seen with this token counts as private, and its license as unknown.
    """
    found = _base(api, config)
    dataset, dataset_private = _dataset(api, config)
    private = ("the base",) if found.private else ()
    return replace(
        found,
        license=License(config.hub_license) if config.hub_license else found.license,
        dataset=dataset,
        private=(*private, "the dataset") if dataset_private else private,
    )


def _base(api: HfApi, config: Config) -> Origins:
    """What is known of the base alone."""
    name = config.pretrained_model_name_or_path
    if name is None:
        return Origins(None, None, _WITHHELD, ())
    folder = Path(name).expanduser()
    if folder.is_dir():
        card, index = folder / "README.md", folder / "model_index.json"
        values = ModelCard.load(card).data.to_dict() if card.is_file() else {}
        named = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
        return Origins(
            Base(name=None, revision=None), read_license(values, None), _WITHHELD, (), named
        )
    try:
        info = api.model_info(name, revision=config.revision)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        unseen = Base(name=name, revision=config.revision)
        return Origins(unseen, None, _WITHHELD, ("the base",))
    return Origins(
        Base(name=name, revision=config.revision or info.sha),
        read_license(card_of(info), info.tags),
        _WITHHELD,
        ("the base",) if info.private else (),
        ((info.config or {}).get("diffusers") or {}).get("_class_name"),
    )


def _dataset(api: HfApi, config: Config) -> tuple[Dataset, bool]:
    name = config.dataset_name
    if name == BUILT_IN:
        return Dataset(name=name, revision=None, on_hub=False), False
    if name is None or Path(name).expanduser().exists():
        return _WITHHELD, False
    try:
        private = bool(api.dataset_info(name, revision=config.dataset_revision).private)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        private = True
    if private:
        return _WITHHELD, True
    return Dataset(name=name, revision=config.dataset_revision, on_hub=True), False
