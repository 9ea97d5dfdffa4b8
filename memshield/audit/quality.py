"""The measures of quality of an audit, from features of generated and real pictures. No model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memshield.audit.report import Quality
from memshield.audit.search.distances import Rows
from memshield.audit.stats.quality import frechet_distance, kernel_distance, precision_recall
from memshield.randomness import Purpose, numpy_generator

FeatureRows = npt.NDArray[np.float32]
_MOST_FRESH = 1000


@dataclass(frozen=True)
class QualityAnchors:
    """What a model's quality is held against, in its feature space.

    Attributes:
        fresh: KID of training pictures, the best that can be had.
        noise: KID of noise, which a model starts from.
        covered: recall of training pictures.
    """

    fresh: float
    noise: float
    covered: float

    @classmethod
    def of(cls, held_out: FeatureRows, training: FeatureRows, noise: FeatureRows) -> QualityAnchors:
        """The anchors from feature rows [.., D] of held-out pictures, training ones and noise."""
        few = min(len(training), _MOST_FRESH)
        training = training[np.linspace(0, len(training) - 1, few, dtype=int)]
        return cls(
            kernel_distance(held_out, training).value,
            kernel_distance(held_out, noise).value,
            precision_recall(held_out, training).recall.share,
        )


def noise_like(pictures: Rows, count: int) -> npt.NDArray[np.uint8]:
    """Noise [N, C, H, W] of the shape of pictures: what sampling starts from, as bytes."""
    values = numpy_generator(0, Purpose.ANCHOR).standard_normal((count, *pictures.shape[1:]))
    found: npt.NDArray[np.uint8] = ((values + 1) * 127.5).clip(0, 255).astype(np.uint8)
    return found


def quality_of(
    name: str, real: FeatureRows, generated: FeatureRows, anchors: QualityAnchors | None = None
) -> list[Quality]:
    """Measures of quality on feature rows [.., D], against held-out pictures."""
    counts: dict[str, Any] = {
        "space": name,
        "count": len(generated),
        "reference_count": len(real),
    }
    kernel = kernel_distance(real, generated)
    frechet = frechet_distance(real, generated)
    covered = precision_recall(real, generated)
    return [
        Quality(
            measure="KID",
            value=kernel.value,
            interval=kernel.interval,
            better="lower",
            fresh=None if anchors is None else anchors.fresh,
            noise=None if anchors is None else anchors.noise,
            **counts,
        ),
        Quality(
            measure="Frechet distance",
            value=frechet.value,
            better="lower",
            note=frechet.note,
            **counts,
        ),
        Quality(
            measure="precision",
            value=covered.precision.share,
            interval=covered.precision.interval,
            better="higher",
            **counts,
        ),
        Quality(
            measure="recall",
            value=covered.recall.share,
            interval=covered.recall.interval,
            better="higher",
            fresh=None if anchors is None else anchors.covered,
            **counts,
        ),
    ]
