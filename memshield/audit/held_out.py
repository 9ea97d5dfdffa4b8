"""What a command line says of the pictures that a model was not trained on. No torch."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from memshield.config.file import Config, Part, make_config
from memshield.config.schema import BUILT_IN
from memshield.errors import UserError
from memshield.paths import expanded

PLACES = ("dataset_name", "dataset_config_name", "train_data_dir")
"""Settings that name where a dataset is."""

_SHARE = re.compile(r"(-?[\d.]+) ?%")
Parts = tuple[dict[str, Any], dict[str, Any]]


def parts_of(flags: Mapping[str, Any], settings: Mapping[str, Any]) -> Parts:
    """Settings of the training pictures, and what differs for those held out; {} for none.

    Args:
        flags: held_out (a Hub id, folder, split, or a share such as 20% at the end of the
            dataset), held_out_split and held_out_data_dir, as far as they are given.
        settings: of the dataset.

    Raises:
        UserError: the dataset has no such part.
    """
    named = flags.get("held_out")
    share = _SHARE.fullmatch(str(named))
    if share is not None and not Path(str(named)).exists():
        return _share_of(settings, share[1])
    fresh: dict[str, Any] = {}
    if named is not None:
        is_place = "/" in named or expanded(named).exists()
        fresh["dataset_name" if is_place else "dataset_split"] = named
    if "held_out_split" in flags:
        fresh["dataset_split"] = flags["held_out_split"]
    if "held_out_data_dir" in flags:
        fresh |= {"train_data_dir": flags["held_out_data_dir"], "dataset_name": None}
    return dict(settings), fresh


def _share_of(settings: Mapping[str, Any], said: str) -> Parts:
    split = str(settings.get("dataset_split") or "train")
    percent = int(said) if said.isdecimal() else 0
    kept = 100 - percent
    if not 0 < percent < 100 or set(split) & set("[+"):
        raise UserError(
            "held_out",
            f"{said} % of {split} is no part of it",
            "Give 1% to 99% of a whole split, or name both parts: --dataset_split train[:800] "
            "--held_out_split train[800:].",
        )
    if settings.get("dataset_name") == BUILT_IN:
        raise UserError("held_out", f"{BUILT_IN} has no parts", "Name other pictures.")
    training = {**settings, "dataset_split": f"{split}[:{kept}%]"}
    return training, {"dataset_split": f"{split}[{kept}%:]"}


def with_fresh(
    config: Config, fresh: Mapping[str, Any], without: Collection[Part] = ()
) -> Config | None:
    """The config of held-out pictures; None where there are none.

    Args:
        config: of the training pictures.
        fresh: what differs.
        without: see `make_config`.

    Raises:
        UserError: a setting is wrong.
    """
    if not fresh:
        return None
    elsewhere: dict[str, Any] = {}
    if "train_data_dir" in fresh or "dataset_name" in fresh:
        elsewhere = dict.fromkeys((*PLACES, "dataset_revision")) | {"dataset_split": "train"}
    return make_config({**config.model_dump(), **elsewhere, **fresh}, without=without)
