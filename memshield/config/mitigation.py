"""What a training does against memorization, told from its settings. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

PLAIN: Mapping[str, Any] = MappingProxyType(
    {
        "num_shards": 1,
        "skip_threshold": 0.0,
        "timestep_bias_share": None,
        "stop_levels": False,
        "augment_probability": 0.0,
    }
)
"""Settings of plain training: a run that has all of these does nothing against memorization."""

IET_AGC, EDM = "2407.15328", "2206.00364"
"""Liu et al. 2024; Karras et al. 2022."""

SHAPING = (*PLAIN, "num_rounds", "loss_ema_decay", "loss_bank_reference", "timestep_bias_level",
           "shard_strategy", "outer_learning_rate", "outer_momentum", "use_ema")  # fmt: skip
"""Settings that shape how much a model memorizes: what an audit notes of a run."""


class MitigationMethod(NamedTuple):
    """One thing that is done.

    Attributes:
        short: for a table.
        sentence: for a card.
        source: on arXiv, by its number; None where it is ours.
    """

    short: str
    sentence: str
    source: str | None = None


def is_plain(settings: Mapping[str, Any]) -> bool:
    """Whether a training does nothing against memorization.

    Args:
        settings: by name; one that is not named is as plain training has it.
    """
    return all(settings.get(name, value) == value for name, value in PLAIN.items())


def measures_of(settings: Mapping[str, Any]) -> list[MitigationMethod]:
    """What is done against memorization, in words; nothing for plain training.

    Args:
        settings: by name, as in `is_plain`. They may be a stranger's: any value is shown.
    """
    get = settings.get
    found = []
    shards, threshold = get("num_shards", 1), get("skip_threshold")
    if shards != 1:
        rounds = get("num_rounds")
        in_rounds = f"{rounds} {'round' if rounds == 1 else 'rounds'}"
        found.append(
            MitigationMethod(
                f"{shards} shards, {in_rounds}",
                f"The pictures are split into {shards} shards; each trains a copy of the model, "
                f"and the copies are averaged in {in_rounds} (iterative ensemble training).",
                IET_AGC,
            )
        )
    if threshold:
        held_out = get("loss_bank_reference") == "held_out"
        reference = "the held-out loss" if held_out else "the mean loss"
        found.append(
            MitigationMethod(
                f"skip threshold {threshold}" + (" of the held-out loss" if held_out else ""),
                f"A sample is skipped whose loss is under {threshold} times {reference} of its "
                "noise level (anti-gradient control).",
                None if held_out else IET_AGC,
            )
        )
    share = get("timestep_bias_share")
    if share is not None:
        level = get("timestep_bias_level")
        found.append(
            MitigationMethod(
                f"{_percent(share)} of draws below noise level {level}",
                f"{_percent(share)} of the draws are at noise levels below {level} (noise over "
                "signal), the others above: without captions copies are learned at low noise, "
                "with captions at high noise.",
            )
        )
    if get("stop_levels"):
        found.append(
            MitigationMethod(
                "noise levels stopped one by one",
                "Each noise level stops learning from the pictures once its held-out loss rises.",
            )
        )
    augmented = get("augment_probability")
    if augmented:
        found.append(
            MitigationMethod(
                f"augmentation {augmented}",
                "Pictures are augmented and the network is told how, so that what it draws is "
                f"not (probability {augmented} of each change).",
                EDM,
            )
        )
    return found


def _percent(share: Any) -> str:
    known = type(share) in (int, float) and 0 <= share <= 1
    return f"{100 * share:.3g} %" if known else str(share)
