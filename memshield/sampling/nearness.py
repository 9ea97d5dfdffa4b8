"""Distances of generated pictures to training pictures, measured as in audits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from memshield.audit.crops import nearest_crop, nearest_pictures
from memshield.audit.images import Pixels
from memshield.audit.reference import Reference
from memshield.audit.report import SECOND, SQUARED, CurvePoint, Memorization, Report
from memshield.audit.stats.memorization import COPY, NEAREST, distance_ratio, second_ratio
from memshield.data.batches import IN_MEMORY_BYTES
from memshield.sampling.record import Nearness, NearnessRule

USUAL = 0.1
"""A picture is closer than usual where at most this share of fresh real pictures are as near."""


class CopyWatch:
    """Compares pictures with those that a model was trained on.

    Args:
        reference: the real pictures.
        reports: audits, of which one on the same pictures gives the threshold.
        device: to search on.

    Attributes:
        reference: the real pictures.
        rule: when a picture is warned about.
        at_hand: whether the training pictures fit in memory, so that looking again costs little.
    """

    def __init__(
        self, reference: Reference, reports: Iterable[Report], device: torch.device
    ) -> None:
        self.reference = reference
        self._device = device
        report = next((one for one in reports if _tells(one, reference)), None)
        squared = report is not None and report.headline.statistic == SQUARED
        # How near fresh pictures are is known of the squared ratio alone.
        self._curve = report.curve if report is not None and squared else ()
        self.rule = _fixed() if report is None else _calibrated(report.headline, self._curve)
        kept = reference.crops is None  # what is cut at random is decoded again
        self.at_hand = kept and math.prod(reference.training.shape) <= IN_MEMORY_BYTES

    def look(self, pictures: Pixels) -> list[Nearness]:
        """The nearness of each picture [n, C, H, W], which has the training pictures' size."""
        reference = self.reference
        found = nearest_pictures(
            pictures,
            reference.training,
            reference.crops,
            NEAREST,
            mirrored=reference.mirrored,
            groups=reference.groups,
            device=self._device,
        )
        ratio = distance_ratio if self.rule.statistic == SQUARED else second_ratio
        values = ratio(found.distance)
        size = math.prod(pictures.shape[1:])
        return [
            Nearness(
                level=self._level(float(value)),
                value=float(value),
                distance=math.sqrt(found.distance[i, 0] / size),
                as_near=self._as_near(float(value)),
                training=int(reference.members[found.index[i, 0]]),
                mirrored=bool(found.mirrored[i]),
            )
            for i, value in enumerate(values)
        ]

    def training_picture(self, found: Nearness, pixels: Pixels) -> Pixels:
        """The training picture [C, H, W] that a picture is nearest to, by its nearest crop.

        Args:
            found: what `look` found of it.
            pixels: [C, H, W] of it.
        """
        place = int(np.flatnonzero(self.reference.members == found.training)[0])
        return nearest_crop(
            self.reference.training, self.reference.crops, place, pixels, found.mirrored
        )

    def _level(self, value: float) -> Any:
        if value < self.rule.threshold:
            return "near_copy"
        return "close" if self.rule.close is not None and value < self.rule.close else "none"

    def _as_near(self, value: float) -> float | None:
        above = (point.control for point in self._curve if point.alpha >= value)
        return next(above, None)


def _tells(report: Report, reference: Reference) -> bool:
    """Whether the threshold of an audit is one for these training pictures."""
    headline, data = report.headline, report.data
    return (
        headline.statistic in (SQUARED, SECOND)
        and headline.threshold is not None
        and data.fingerprint == reference.fingerprint
        and data.resolution == reference.training.shape[2]
        and data.compared_crops == reference.compared_crops
    )


def _calibrated(headline: Memorization, curve: tuple[CurvePoint, ...]) -> NearnessRule:
    assert headline.threshold is not None
    usual = [point.alpha for point in curve if point.control <= USUAL]
    close = max(usual, default=0.0)
    return NearnessRule(
        source="audit",
        statistic=headline.statistic,
        threshold=headline.threshold,
        chance=headline.control,
        close=close if close > headline.threshold else None,
    )


def _fixed() -> NearnessRule:
    return NearnessRule(source="fixed", statistic=SECOND, threshold=COPY)
