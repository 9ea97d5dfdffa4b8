"""The origins of a run's model and pictures: their licenses and privacy on the Hub."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from memshield.config.file import Config
from memshield.config.schema import BUILT_IN
from memshield.hub.catalog.access import card_of
from memshield.hub.catalog.license import License, license_in, read_license
from memshield.hub.manifest import Base, Dataset, Vae
from memshield.network import page_of
from memshield.paths import expanded

_WITHHELD = Dataset(name=None, revision=None, on_hub=False)


@dataclass(frozen=True)
class Origins:
    """The base model and the dataset of a published model.

    Attributes:
        base: the pipeline; None where the model was trained from scratch.
        license: of the base or, where that is not known, as the user states it; None for neither.
        dataset: withheld where it is private or local.
        vae: that replaces the base's own; None where none does.
        copies_vae: whether its weights are published with the model's.
        private: what of it is private on the Hub, in words; its model may not be public.
        pipeline_class: of the base, where it is known.
    """

    base: Base | None
    license: License | None
    dataset: Dataset
    private: tuple[str, ...]
    pipeline_class: str | None = None
    vae: Vae | None = None
    copies_vae: bool = False


def look_up_origins(api: HfApi, config: Config) -> Origins:
    """Ask the Hub about a resolved config's model and dataset.

    What cannot be seen with this token counts as private, and its license as unknown.
    """
    found = _base(api, config)
    vae, vae_private = _vae(api, config.pretrained_vae_model_name_or_path)
    dataset, dataset_private = _dataset(api, config)
    closed = {
        "the base": bool(found.private),
        "the VAE": vae_private,
        "the dataset": dataset_private,
    }
    return replace(
        found,
        license=_license(found, config.hub_license),
        vae=vae,
        copies_vae=vae is not None and config.training != "lora",
        dataset=dataset,
        private=tuple(what for what, is_closed in closed.items() if is_closed),
    )


def _license(base: Origins, stated: str | None) -> License | None:
    """A base's own license stands; only where there is none the user's word counts."""
    if stated is None or (base.base is not None and is_known(base.license)):
        return base.license
    return License(stated)


def is_known(license: License | None) -> bool:
    """Whether a license says anything."""
    return license is not None and not (license.id in ("unknown", "other") and not license.name)


def _base(api: HfApi, config: Config) -> Origins:
    """The origins, as far as they concern the base."""
    name, variant = config.pretrained_model_name_or_path, config.variant
    if name is None:
        return Origins(None, None, _WITHHELD, ())
    # A run that read its base from the Hub has noted the commit: a folder of that name that lies
    # here by now is another thing.
    folder = expanded(name)
    local = Base(name=None, revision=None, variant=variant)
    if config.revision is None and folder.is_dir():
        return _local(folder, local)
    try:
        info = api.model_info(name, revision=config.revision)
    except HFValidationError:
        return Origins(local, None, _WITHHELD, ())  # a folder that is gone
    except (RepositoryNotFoundError, RevisionNotFoundError):
        unseen = Base(name=name, revision=config.revision, variant=variant)
        return Origins(unseen, None, _WITHHELD, ("the base",))
    return Origins(
        Base(
            name=name,
            revision=config.revision or info.sha,
            variant=variant,
            gated=bool(info.gated),
        ),
        read_license(card_of(info), info.tags, page_of("model", info.id)),
        _WITHHELD,
        ("the base",) if info.private else (),
        ((info.config or {}).get("diffusers") or {}).get("_class_name"),
    )


def _local(folder: Path, base: Base) -> Origins:
    """What a local folder says, as far as it can be read."""
    named = None
    try:
        index = (folder / "model_index.json").read_text(encoding="utf-8")
        named = dict(json.loads(index)).get("_class_name")
    except (OSError, ValueError, TypeError):
        pass  # the training says what is wrong with it
    known = named if isinstance(named, str) else None
    return Origins(base, license_in(folder), _WITHHELD, (), known)


def _vae(api: HfApi, name: str | None) -> tuple[Vae | None, bool]:
    """The replacement VAE, and whether it is private."""
    if name is None:
        return None, False
    folder = expanded(name)
    if folder.is_dir():
        return Vae(name=None, license=license_in(folder)), False
    try:
        info = api.model_info(name)
    except HFValidationError:
        return Vae(name=None), False  # a folder that is gone
    except RepositoryNotFoundError:
        return Vae(name=name), True
    license = read_license(card_of(info), info.tags, page_of("model", info.id))
    return Vae(name=name, license=license), bool(info.private)


def _dataset(api: HfApi, config: Config) -> tuple[Dataset, bool]:
    name = config.dataset_name
    if name == BUILT_IN:
        return Dataset(name=name, revision=None, on_hub=False), False
    here = name is None or expanded(name).exists()
    if name is None or (here and config.dataset_revision is None):
        return _WITHHELD, False
    try:
        info = api.dataset_info(name, revision=config.dataset_revision)
        private = bool(info.private)
        license = read_license(card_of(info), info.tags, page_of("dataset", info.id))
    except HFValidationError:
        return _WITHHELD, False  # a folder that is gone
    except (RepositoryNotFoundError, RevisionNotFoundError):
        private, license = True, None
    if private:
        return _WITHHELD, True
    dataset = Dataset(name=name, revision=config.dataset_revision, on_hub=True, license=license)
    return dataset, False
