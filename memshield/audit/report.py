"""report.json: the result of an audit, validated. No torch.

It points at no single training picture: pairs and pictures at risk are in private.json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from memshield.audit.watch_record import WatchRecord
from memshield.config.buckets import MOST_SIZES
from memshield.errors import UserError
from memshield.rundir import write_text

VERSION: Literal[1] = 1
REPORT, PAGE = "report.json", "report.html"
"""Files of an audit's folder that point at no single training picture."""
IMAGES, IMAGES_RECORD, PRIVATE = "images.npy", "images.json", "private.json"
"""Its other files: the generated pictures, their record, and the private findings."""

SQUARED = "distance ratio, squared (Liu et al. 2024)"
SECOND = "first over second neighbour (Gu et al. 2023)"
"""The two statistics in pixels that say how much a model gives back."""
_LEVEL = 0.025
"""One side of a 95 % interval."""

Share = float
Interval = tuple[float, float]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AuditedModel(_Part):
    """The model, or the pictures, that were audited.

    Attributes:
        name: as a person calls it: a run's or repository's name, never a local path.
        kind: run, pipeline or pictures.
        round: of a run; None for its chosen model.
        base: the pipeline that was fine-tuned, with its revision.
        mitigation: of the method's settings, those that shape memorization; {} where unknown.
        weights: SHA-256 over the trained weights of a run; None for what is no run's.
    """

    name: str
    kind: Literal["run", "pipeline", "pictures"]
    round: int | None = None
    step: int | None = None
    base: str | None = None
    revision: str | None = None
    mitigation: dict[str, Any] = {}
    weights: str | None = None


class Data(_Part):
    """The real pictures of the comparison.

    Attributes:
        fingerprint: SHA-256 over the digests of all members: two audits of one fingerprint are
            of the same training set.
        resolution: side of the squares that are compared.
        overlap, near_overlap: pictures that were named as held out but are training pictures, or
            near duplicates of some, and left out.
        buckets: heights and widths that the pictures were trained on in; () for the square.
        random_crops: training pictures of which training saw other parts than the middle.
        compared_crops: crops of training pictures that were searched; 0 where it was their
            middles, and of audits that knew no other way.
    """

    name: str
    revision: str | None
    training: int
    held_out: int
    duplicate_groups: int
    resolution: int
    fingerprint: str
    overlap: int = 0
    near_overlap: int = 0
    buckets: tuple[tuple[int, int], ...] = Field(default=(), max_length=MOST_SIZES)
    random_crops: int = 0
    compared_crops: int = 0

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        for name in ("overlap", "near_overlap", "buckets", "random_crops", "compared_crops"):
            if not values[name]:  # as before there were any
                del values[name]
        return values


class GeneratedSet(_Part):
    """The pictures that were generated.

    Attributes:
        broken: of them, those with values that are no numbers: a failed model, not one that
            does not memorize.
    """

    count: int
    broken: int
    seed: int | None
    steps: int | None
    prompts: str | None

    @property
    def is_broken(self) -> bool:
        """Whether most pictures hold values that are no numbers: nothing follows from the rest."""
        return self.broken * 2 > self.count


class CurvePoint(_Part):
    """Share of pictures under a fixed alpha."""

    alpha: float
    count: int
    share: Share
    interval: Interval
    control: Share


class Memorization(_Part):
    """One statistic, calibrated on held-out pictures.

    Attributes:
        statistic: name, with its source.
        space: in which pictures are compared.
        level: largest share of fresh real pictures that the threshold is to let pass.
        control, control_interval: expected share of fresh real pictures beyond it.
        share, interval: of the generated ones.
        excess, excess_interval: the difference.
        p_value: probability of as many, or more, by chance.
        cannot_say: why there is no figure, where there is none.
        curve: over the whole range of alpha, for distance ratios.
        figures: what the authors of the measure report, uncalibrated.
    """

    statistic: str
    space: str
    count: int
    control_count: int
    level: float | None = None
    threshold: float | None = None
    control: Share | None = None
    control_interval: Interval | None = None
    share: Share | None = None
    interval: Interval | None = None
    excess: float | None = None
    excess_interval: Interval | None = None
    p_value: float | None = None
    cannot_say: str | None = None
    curve: tuple[CurvePoint, ...] = ()
    figures: dict[str, float] = {}

    @model_validator(mode="after")
    def _figures_are_all_there_or_none(self) -> Memorization:
        found = (self.share, self.control, self.excess, self.excess_interval)
        if len({one is None for one in found}) > 1:
            raise ValueError("share, control, excess and its interval belong together")
        return self

    @property
    def is_beyond_chance(self) -> bool:
        """Whether the whole interval of the excess lies above zero."""
        return self.excess_interval is not None and self.excess_interval[0] > 0


class Attack(_Part):
    """A membership-inference attack."""

    attack: str
    members: int
    held_out: int
    auc: float
    auc_interval: Interval
    tpr_at_1_percent_fpr: float | None
    tpr_interval: Interval | None
    note: str | None = None


class Quality(_Part):
    """One measure of quality, never without its feature space and counts.

    Attributes:
        fresh: what training pictures have, in their place: the best that can be had.
        noise: what noise has; a model that has learned nothing is no better.
    """

    measure: str
    space: str
    count: int
    reference_count: int
    value: float
    interval: Interval | None = None
    better: Literal["lower", "higher"]
    note: str | None = None
    fresh: float | None = None
    noise: float | None = None

    @model_serializer(mode="wrap")
    def _without_missing_anchors(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if self.fresh is None and self.noise is None:  # as before there were any
            del values["fresh"], values["noise"]
        return values


class Missing(_Part):
    """A measure that could not be taken."""

    measure: str
    reason: str


class Report(_Part):
    """A whole audit.

    Attributes:
        watch: of a run that watched its held-out loss by noise level, what that had shown when
            the audited round ended: means over pictures, none of which it names.
    """

    version: Literal[1] = VERSION
    made: str
    target: AuditedModel
    data: Data
    generated: GeneratedSet
    verdict: str
    memorization: tuple[Memorization, ...] = Field(min_length=1)
    membership: tuple[Attack, ...] = ()
    quality: tuple[Quality, ...] = ()
    missing: tuple[Missing, ...] = ()
    limits: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    seconds: float = Field(ge=0)
    watch: WatchRecord | None = None

    @model_serializer(mode="wrap")
    def _without_an_empty_watch(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if values.get("watch") is None:  # the file stays as it was before runs were watched
            values.pop("watch", None)
        return values

    @property
    def headline(self) -> Memorization:
        """The statistic that the verdict and budgets go by; see `headline_of`."""
        return headline_of(self.memorization)

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """Share of pictures by the squared distance ratio, over the whole range of alpha."""
        return self.memorization[0].curve

    @property
    def others_beyond_chance(self) -> tuple[Memorization, ...]:
        """Statistics beside the headline that find more than chance, all of them looked at.

        Each has less than its share of 2.5 % to say so of a model that gives nothing back.
        """
        others = [one for one in self.memorization if one is not self.headline]
        return tuple(
            one
            for one in others
            if one.is_beyond_chance and (one.p_value or 0.0) < _LEVEL / len(others)
        )

    @property
    def headline_quality(self) -> Quality | None:
        """The measure of quality that rounds are chosen by: the first, KID."""
        return self.quality[0] if self.quality else None

    def write(self, path: Path) -> None:
        """Write report.json whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read and validate report.json.

        Raises:
            UserError: it is missing, of another version, or not a report.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError("report", f"cannot read {path}: {error.strerror}", "") from None
        except (ValueError, RecursionError):
            raise UserError("report", f"{path} is not JSON", "Audit again.") from None
        if isinstance(values, dict) and values.get("version") != VERSION:
            raise UserError(
                "report",
                f"{path} is of version {values.get('version')!r}, this reads {VERSION}",
                "Audit again.",
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise UserError(
                "report", f"{path} is not valid: {place}: {first['msg']}", "Audit again."
            ) from None


def headline_of(memorization: Sequence[Memorization]) -> Memorization:
    """The statistic that says how much a model gives back.

    The first, the squared distance ratio; but the first over the second neighbour where that finds
    more pictures given back, and more than chance: each misses copies that the other finds.
    """
    first = memorization[0]
    found = [
        one
        for one in memorization
        if one.statistic == SECOND
        and one.is_beyond_chance
        and (one.excess or 0.0) > (first.excess or 0.0)
    ]
    return found[0] if found else first


def percent(share: float) -> str:
    """A share as a percentage."""
    value = 100 * share
    if 0 < abs(value) < 0.1:
        return f"{value:.2g} %"
    return f"{value:.1f} %" if abs(value) < 10 else f"{value:.0f} %"
