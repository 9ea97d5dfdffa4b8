"""Reports made up for tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memshield.audit.report import (
    AuditedModel,
    CurvePoint,
    Data,
    GeneratedSet,
    Memorization,
    Quality,
    Report,
)
from memshield.audit.verdict import verdict


def report_of(
    excess: float | None,
    kid: float,
    broken: int = 0,
    curve: Mapping[float, tuple[float, float]] | None = None,
    **changes: Any,
) -> Report:
    """An audit of 100 pictures, with a chance of 1 %."""
    said: dict[str, Any] = {"cannot_say": "3 held-out pictures are too few"}
    if excess is not None:
        said = {
            "level": 0.01,
            "threshold": 0.2,
            "control": 0.01,
            "control_interval": (0.0, 0.02),
            "share": excess + 0.01,
            "interval": (max(0.0, excess - 0.02), excess + 0.03),
            "excess": excess,
            "excess_interval": (excess - 0.03, excess + 0.03),
            "p_value": 0.5,
        }
    headline = Memorization(
        statistic="distance ratio",
        space="pixels",
        count=100,
        control_count=300,
        curve=tuple(
            CurvePoint(
                alpha=alpha,
                count=int(100 * share),
                share=share,
                interval=(0.0, 1.0),
                control=chance,
            )
            for alpha, (share, chance) in (curve or {}).items()
        ),
        **said,
    )
    generated = GeneratedSet(count=100, broken=broken, seed=0, steps=50, prompts=None)
    values: dict[str, Any] = {
        "made": "2026-01-02T03:04:05Z",
        "target": AuditedModel(name="model", kind="run"),
        "data": Data(
            name="set", revision=None, training=1000, held_out=300, duplicate_groups=0,
            resolution=32, fingerprint="0" * 64,
        ),
        "generated": generated,
        "verdict": verdict(generated, headline),
        "memorization": (headline,),
        "quality": (
            Quality(measure="KID", space="pixels", count=100, reference_count=300, value=kid,
                    interval=(kid - 0.01, kid + 0.01), better="lower", fresh=0.0,
                    noise=20.0),
        ),
        "seconds": 1.0,
    }  # fmt: skip
    return Report(**{**values, **changes})
