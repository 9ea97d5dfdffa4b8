"""The settings of models that are trained by flow matching. Imports no torch."""

from __future__ import annotations

from typing import Literal

from memshield.config.schema import Settings, setting


class FlowSettings(Settings):
    """Flow matching (Stable Diffusion 3 and later families)"""

    weighting_scheme: Literal["sigma_sqrt", "logit_normal", "mode", "cosmap", "none"] | None = (
        setting(
            None,
            "How a flow-matching model draws its noise levels (logit_normal, mode) or weights them "
            "(sigma_sqrt, cosmap); by default as its family's usual script does.",
        )
    )
    logit_mean: float = setting(0.0, "Mean of the logit_normal scheme.", ge=-10, le=10)
    logit_std: float = setting(1.0, "Standard deviation of the logit_normal scheme.", gt=0, le=10)
    mode_scale: float = setting(1.29, "Scale of the mode scheme.", ge=-1, le=1.75)
    guidance_scale: float | None = setting(
        None,
        "Guidance that a model with an embedding of it (FLUX.1-dev) is told while it is trained; "
        "by default 1.",
        ge=0,
        le=100,
    )
    max_sequence_length: int | None = setting(
        None,
        "Tokens of a caption that a flow-matching model's language encoder takes; by default as "
        "its family's usual script does.",
        ge=1,
        le=1024,
    )
