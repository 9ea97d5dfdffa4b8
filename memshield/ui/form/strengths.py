"""The strength of the mitigation: one number for how seldom a model learns where it memorizes.

Without captions, copies are learned at low noise. A caption tells which picture is meant, so that
with captions they are learned at high noise (tests/bench/tradeoff). Strength is a share of the
draws: on that side of `timestep_bias_level`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from memshield.config.recommendations import MEASURED_SHARE

RECOMMENDED_STRENGTH = 0.5
"""The strength at which the draws are as was measured."""
STRENGTHS: Mapping[str, float] = MappingProxyType(
    {"low": 0.25, "recommended": RECOMMENDED_STRENGTH, "high": 0.75}
)
"""The strengths that have a name."""

_ALIKE = {False: 0.3, True: 0.45}
"""Share of the draws on the side where a model memorizes when all levels are drawn alike, without
captions and with: about the least that a schedule has, DDPM's linear one, and flow matching
without a shift. Stable Diffusion has 0.58 at high noise."""
_MEASURED = {False: MEASURED_SHARE[False], True: 1 - MEASURED_SHARE[True]}


def drawn_of(strength: float, captions: bool) -> float:
    """The share of draws where a model memorizes: at low noise, or with captions at high noise.

    It falls by equal factors, to what was measured at the recommended strength.

    Args:
        strength: above 0 and at most 1.
        captions: whether the model learns from them.
    """
    alike, measured = _ALIKE[captions], _MEASURED[captions]
    return alike * math.pow(measured / alike, strength / RECOMMENDED_STRENGTH)


def share_of(strength: float, captions: bool) -> float | None:
    """`timestep_bias_share` of a strength; None, which draws all levels alike, for strength 0."""
    if strength == 0:
        return None
    drawn = drawn_of(strength, captions)
    return round(1 - drawn if captions else drawn, 4)


def strength_of(share: float | None, captions: bool) -> float:
    """The strength of a `timestep_bias_share`; 0 for None, at most 1."""
    if share is None:
        return 0.0
    alike, measured = _ALIKE[captions], _MEASURED[captions]
    drawn = 1 - share if captions else share
    if drawn >= alike:
        return 0.0
    if drawn <= drawn_of(1, captions):
        return 1.0
    return round(RECOMMENDED_STRENGTH * math.log(alike / drawn, alike / measured), 2)
