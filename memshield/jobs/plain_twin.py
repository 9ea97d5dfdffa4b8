"""The plain training that a mitigated one is compared with: its twin without mitigation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from memshield.config.file import Config, make_config, read_yaml
from memshield.config.mitigation import PLAIN, is_plain
from memshield.config.schema import HubSettings
from memshield.data.examples import DROPPED, WATCHED, Examples
from memshield.errors import UserError
from memshield.jobs.folders import name_from
from memshield.rundir import RunDir

_SUFFIX = "-plain"


def plain_values(run: RunDir, settings: Path) -> dict[str, Any]:
    """Settings of the same training without mitigation, and with nothing that ends it early.

    The pictures, those held out, the seed, the steps and the rate are the same. It asks for no
    publication: that would be in the place of the mitigated model.

    Args:
        run: the mitigated one, which knows what was read: commits, and the model's defaults.
        settings: those that it was started with, in case it has not begun.

    Raises:
        UserError: it is plain already.
    """
    config = make_config(read_yaml(run.config if run.is_run() else settings))
    if is_plain(config.model_dump()):
        raise UserError("job", "it is plain training itself", "Choose a run with mitigation.")
    unpublished = {name: field.default for name, field in HubSettings.model_fields.items()}
    return {
        **config.model_dump(),
        **unpublished,
        **PLAIN,
        "loss_bank_reference": "own",
        "watch_fraction": _watched(run, config),
        "outer_learning_rate": 1.0,
        "outer_momentum": 0.0,
        "shard_optimizer": None,  # by default that of a single shard
        "memorization_budget": None,
        "audit_every_rounds": None,
        "resume_from_checkpoint": "latest",
    }


def _watched(run: RunDir, config: Config) -> float | None:
    """The share that the mitigated run watches: the plain one leaves the same pictures out."""
    if config.watch_fraction is not None or not run.examples.is_file():
        return config.watch_fraction
    split = Examples.read(run.examples).split
    kept = int((split != DROPPED).sum())
    return float((split == WATCHED).sum() / kept) if WATCHED in split else None


def plain_name(name: str) -> str:
    """What the plain twin of a run is called."""
    return name_from(name[: 60 - len(_SUFFIX)]) + _SUFFIX


def require_new(wanted: Config, others: Iterable[tuple[str, Config]]) -> None:
    """Refuse a training that differs from another one in nothing but where it lies.

    Args:
        wanted: its settings.
        others: names and settings of those that are there.

    Raises:
        UserError: it is there already.
    """
    here = {"output_dir": ""}
    for name, config in others:
        if config.model_copy(update=here) == wanted.model_copy(update=here):
            raise UserError(
                "job", f"its plain one is there already: {name}",
                "Choose it in the list of runs; delete it to train it anew.",
            )  # fmt: skip
