"""The measures of memorization, from arrays of generated and real pictures. No model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from memshield.audit.crops import Crops, NearestCrops, nearest_pictures
from memshield.audit.quality import FeatureRows
from memshield.audit.report import SECOND, SQUARED, CurvePoint, Memorization
from memshield.audit.search.distances import Rows
from memshield.audit.search.neighbours import Neighbours, nearest
from memshield.audit.stats.at_risk import AtRisk, most_at_risk
from memshield.audit.stats.calibration import Calibration, Side, calibrate
from memshield.audit.stats.intervals import Floats
from memshield.audit.stats.memorization import (
    COPY,
    NEAREST,
    authenticity,
    distance_ratio,
    memorized_quantity,
    second_ratio,
    similarities,
    similarity,
)

OnProgress = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and of how much."""

PLAIN = "distance ratio (Carlini et al. 2023)"
FIXED_ALPHAS = (0.1, 0.3, 0.5)
"""Fixed thresholds of Liu et al., shown beside the calibrated share."""
SIMILARITY = "similarity (Somepalli et al. 2022)"


@dataclass(frozen=True)
class AuditImages:
    """The pictures of an audit.

    Attributes:
        training, held_out, generated: [.., C, H, W] uint8, of one size; anything that can be
            sliced. With `crops` held-out pictures are cut at random, as generated ones are.
        groups: [N] duplicate group of every training picture.
        mirrored: whether training saw mirrored pictures.
        device: to search on.
        crops: of the training pictures, where training saw other parts than the middle.
    """

    training: Rows
    held_out: Rows
    generated: Rows
    groups: npt.NDArray[np.int64]
    mirrored: bool
    device: torch.device
    crops: Crops | None = None

    def nearest(self, queries: Rows, k: int, **options: Any) -> Neighbours:
        """The k nearest training pictures of queries [.., C, H, W]; see `nearest_pictures`."""
        return nearest_pictures(
            queries, self.training, self.crops, k, mirrored=self.mirrored, groups=self.groups,
            device=self.device, **options,
        )  # fmt: skip


@dataclass(frozen=True)
class NearestPair:
    """A generated picture and the training picture that it is nearest to.

    Attributes:
        generated, training: their places in the sets.
        ratio: squared distance ratio.
        beyond: beyond a threshold.
        mirrored: near to the mirrored picture.
    """

    generated: int
    training: int
    ratio: float
    beyond: bool
    mirrored: bool


@dataclass(frozen=True)
class Findings:
    """The results of the search for neighbours.

    Attributes:
        measures: for the report.
        pairs: most suspicious first; private.
        at_risk: training pictures given back most often; private.
        beyond: [M] places of all generated pictures beyond the threshold of the squared ratio, or
            of the first over the second neighbour where that finds more than chance.
    """

    measures: list[Memorization]
    pairs: list[NearestPair]
    at_risk: list[AtRisk]
    beyond: npt.NDArray[np.int64]


def search_control(sets: AuditImages, progress: OnProgress) -> Neighbours | None:
    """Find the neighbours of held-out pictures: the chance level, which no model influences."""
    if sets.held_out.shape[0] == 0:
        return None
    return _nearest(sets, sets.held_out, "held-out pictures", progress)


def search_pixels(
    sets: AuditImages,
    control: Neighbours | None,
    progress: OnProgress,
    draws: npt.NDArray[np.int64] | None = None,
    skips: npt.NDArray[np.int64] | None = None,
    shown: int = 100,
) -> Findings:
    """Compare pixels: the paper's measure, and two more.

    Args:
        sets: the pictures.
        control: of `search_control`.
        progress: is told how far it is.
        draws, skips: [N] of every training picture, where known.
        shown: pairs and pictures at risk at most.
    """
    neighbours = _nearest(sets, sets.generated, "generated pictures", progress)
    ratio, control_ratio = distance_ratio(neighbours.distance), _of(control, distance_ratio)
    headline = calibrate(control_ratio, ratio, "low")
    by_root = partial(distance_ratio, squared=False)
    plain, control_plain = by_root(neighbours.distance), _of(control, by_root)
    measures = [
        _measure(
            SQUARED,
            "pixels",
            headline,
            ratio,
            control_ratio,
            curve=True,
            figures={
                name: share
                for alpha in FIXED_ALPHAS
                for name, share in _shares(
                    f"share under {alpha}", ratio < alpha, control_ratio < alpha
                ).items()
            },
        ),
        _calibrated(PLAIN, "pixels", plain, control_plain, side="low", curve=True),
    ]
    second, control_second = second_ratio(neighbours.distance), _of(control, second_ratio)
    by_second = calibrate(control_second, second, "low")
    own_distance = _own_nearest(sets, neighbours, progress)
    measures.append(
        _measure(
            SECOND,
            "pixels",
            by_second,
            second,
            control_second,
            figures={
                **_shares("share under 1/3", second < COPY, control_second < COPY),
                "authenticity (Alaa et al. 2022)": authenticity(
                    neighbours.distance[:, 0], own_distance
                ).share,
            },
        )
    )
    beyond = (
        headline.threshold.beyond(ratio)
        if headline.threshold is not None
        else np.zeros(len(ratio), np.bool_)
    )
    # Where it finds no more than chance, what lies beyond its threshold is chance as well.
    if by_second.threshold is not None and measures[-1].is_beyond_chance:
        beyond |= by_second.threshold.beyond(second)
    order = np.lexsort((ratio, ~beyond))[:shown]
    pairs = [
        NearestPair(int(i), int(neighbours.index[i, 0]), float(ratio[i]), bool(beyond[i]),
             bool(neighbours.mirrored[i]))
        for i in order
    ]  # fmt: skip
    at_risk = most_at_risk(
        neighbours.index[:, 0], beyond, sets.groups, draws=draws, skips=skips, limit=shown
    )
    return Findings(measures, pairs, at_risk, np.flatnonzero(beyond))


def search_features(
    name: str,
    training: FeatureRows,
    held_out: FeatureRows,
    generated: FeatureRows,
    sets: AuditImages,
) -> Memorization:
    """Compare unit features [.., D] float32 by their dot products."""
    options: dict[str, Any] = {"groups": sets.groups, "device": sets.device}
    generated_similarity, control = (
        similarity(nearest(rows, training, 1, **options).distance[:, 0])
        if len(rows)
        else np.empty(0)
        for rows in (generated, held_out)
    )
    background = similarity(
        nearest(training, training, 1, exclude=sets.groups, **options).distance[:, 0]
    )
    summary = similarities(generated_similarity, background)
    figures = {
        "share above 0.5": summary.similar.share,
        "share above 0.5, training pictures among themselves": summary.background_similar.share,
    }
    for percentile, ours, theirs in zip(
        (75, 90, 95), summary.percentiles, summary.background_percentiles, strict=True
    ):
        figures[f"{percentile}th percentile"] = ours
        figures[f"{percentile}th percentile, training pictures among themselves"] = theirs
    return _calibrated(
        SIMILARITY, name, generated_similarity, control, side="high", figures=figures
    )


def _shares(
    name: str, generated: npt.NDArray[np.bool_], control: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """An uncalibrated share, and the same of held-out pictures where there are any."""
    found = {name: float(generated.mean())}
    return found | ({f"{name}, fresh real pictures": float(control.mean())} if len(control) else {})


def _of(control: Neighbours | None, statistic: Callable[[Floats], Floats]) -> Floats:
    return np.empty(0) if control is None else statistic(control.distance)


def _nearest(sets: AuditImages, queries: Rows, what: str, progress: OnProgress) -> Neighbours:
    total = queries.shape[0]
    return sets.nearest(
        queries, NEAREST, progress=lambda done: progress(f"searching for {what}", done, total)
    )


class _Chosen:
    """Some rows of others, read when they are wanted: all of them may be larger than memory."""

    def __init__(self, rows: Rows, places: npt.NDArray[np.int64]) -> None:
        self._rows, self._places = rows, places
        self.shape = (len(places), *rows.shape[1:])

    def __getitem__(self, rows: slice, /) -> npt.NDArray[Any]:
        return np.concatenate([self._rows[i : i + 1] for i in self._places[rows].tolist()])


def _own_nearest(sets: AuditImages, found: Neighbours, progress: OnProgress) -> Floats:
    """Distance of the training picture nearest to each generated one to others of other groups."""
    chosen = found.index[:, 0]
    unique, back = np.unique(chosen, return_inverse=True)
    rows: Rows = _Chosen(sets.training, unique)
    if sets.crops is not None:  # it is by one of its crops that a picture is nearest
        unique, back = chosen, np.arange(len(chosen))
        rows = NearestCrops(sets.training, sets.crops, sets.generated, chosen, found.mirrored)
    others = sets.nearest(
        rows,
        1,
        exclude=sets.groups[unique],
        progress=lambda done: progress("searching among training pictures", done, len(unique)),
    )
    own: Floats = others.distance[back, 0]
    return own


def _calibrated(
    statistic: str,
    space: str,
    generated: Floats,
    control: Floats,
    side: Side,
    curve: bool = False,
    figures: dict[str, float] | None = None,
) -> Memorization:
    calibration = calibrate(control, generated, side)
    return _measure(statistic, space, calibration, generated, control, curve, figures)


def _measure(
    statistic: str,
    space: str,
    calibration: Calibration,
    generated: Floats,
    control: Floats,
    curve: bool = False,
    figures: dict[str, float] | None = None,
) -> Memorization:
    values: dict[str, Any] = {
        "statistic": statistic,
        "space": space,
        "count": len(generated),
        "control_count": len(control),
        "curve": _curve(generated, control) if curve and len(control) else (),
        "figures": figures or {},
    }
    threshold, beyond, excess = calibration.threshold, calibration.beyond, calibration.excess
    # Where hardly anything can pass the threshold, few that do say nothing; many still do.
    if calibration.reason is not None and (excess is None or excess.interval[0] <= 0):
        values["cannot_say"] = calibration.reason
    elif threshold is not None and beyond is not None and excess is not None:
        values |= {
            "level": threshold.level,
            "threshold": threshold.value,
            "control": threshold.chance,
            "control_interval": threshold.chance_interval,
            "share": beyond.share,
            "interval": beyond.interval,
            "excess": excess.excess,
            "excess_interval": excess.interval,
            "p_value": excess.p_value,
        }
    return Memorization(**values)


def _curve(generated: Floats, control: Floats) -> tuple[CurvePoint, ...]:
    ours, chance = memorized_quantity(generated), memorized_quantity(control)
    return tuple(
        CurvePoint(alpha=alpha, count=count, share=share, interval=interval, control=by_chance)
        for alpha, count, share, interval, by_chance in zip(
            ours.alpha, ours.count, ours.share, ours.interval, chance.share, strict=True
        )
    )
