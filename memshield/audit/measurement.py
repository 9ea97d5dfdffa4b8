"""Compares a model's pictures with the real ones, by every measure that can be taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from memshield.audit.generate import GeneratedImages
from memshield.audit.images import ImageSet, Ints, of_places
from memshield.audit.measures import (
    AuditImages,
    Findings,
    OnProgress,
    search_control,
    search_features,
    search_pixels,
)
from memshield.audit.quality import QualityAnchors, noise_like, quality_of
from memshield.audit.reference import Reference
from memshield.audit.report import SQUARED, Memorization, Missing, Quality
from memshield.audit.search.features import (
    NAMED,
    ClipScore,
    FeatureSpace,
    PrincipalComponents,
    Rows,
    ScriptedFeatures,
    open_features,
    rows_of,
    unit,
)
from memshield.audit.search.neighbours import Neighbours
from memshield.audit.stats.intervals import mean_interval
from memshield.audit.team import Team
from memshield.errors import UserError

_NOISES = 100
LEAST_COMPARED = 4
"""Pictures of either kind that a measure of quality needs: precision and recall look at the third
neighbour of each."""


@dataclass(frozen=True)
class ModelMeasurements:
    """The measures of one model's pictures.

    Attributes:
        memorization, quality: measures that were taken; the first one is the headline.
        missing: those that were not, and why.
        findings: of the search in pixels, private; None where no picture is whole.
    """

    memorization: tuple[Memorization, ...]
    quality: tuple[Quality, ...]
    missing: tuple[Missing, ...]
    findings: Findings | None


@dataclass
class ModelMeasurer:
    """Compares any number of models with one reference, whose pictures are measured once.

    Args:
        reference: the real pictures.
        device: to search and to embed on.
        spaces: feature spaces beside pixels, by their name in `NAMED`, a Hub id or a folder.
        sscd: path and sha256 of SSCD's TorchScript, or None.
        progress: is told what is being done.
        team: of processes that share the embedding.
    """

    reference: Reference
    device: torch.device
    spaces: Sequence[str] = ()
    sscd: tuple[Path, str] | None = None
    progress: OnProgress = lambda what, done, total: None
    team: Team = field(default_factory=Team)
    _control: Neighbours | None = field(default=None, init=False)
    _features: list[FeatureSpace] = field(default_factory=list, init=False)
    _clip: ClipScore | None = field(default=None, init=False)
    _missing: list[Missing] = field(default_factory=list, init=False)
    _anchors: dict[str, QualityAnchors] = field(default_factory=dict, init=False)
    _real: dict[str, tuple[Rows, Rows]] = field(default_factory=dict, init=False)

    def open(self) -> None:
        """Fetch the weights of the feature spaces, and search for the held-out pictures.

        Weights that cannot be had are noted as missing measures.

        Raises:
            UserError: the file of SSCD is not the one that was named.
        """
        learned, fresh = self.reference.as_learned
        self._features = [PrincipalComponents(learned)]
        if self.sscd is not None:
            self._features.append(ScriptedFeatures(*self.sscd, self.device))
        for name in self.spaces:
            self._open_space(name)
        self._control = search_control(self.sets_of(fresh), self.progress)

    def _open_space(self, name: str) -> None:
        """Open a feature space, unless it is not there for some process of the audit."""
        space: FeatureSpace | None = None
        clip, problem = None, None
        try:
            space = open_features(name, self.device)
            if name == "clip" and self.reference.captions is not None:
                clip = ClipScore(NAMED[name].repository, self.device)
        except UserError as error:
            problem = error.problem
        # All embed together: one that cannot would be waited for without an end.
        reason = next((one for one in self.team.gather(problem) if one is not None), None)
        if reason is not None:
            self._missing.append(Missing(measure=f"features: {name}", reason=reason))
        elif space is not None:
            self._features.append(space)
            self._clip = clip or self._clip

    def compare(
        self, generated: GeneratedImages, prompts: Sequence[str] | None = None
    ) -> ModelMeasurements:
        """Take every measure of a set of generated pictures.

        Args:
            generated: broken ones are left out.
            prompts: of the pictures, for the CLIP score.
        """
        whole = np.setdiff1d(np.arange(len(generated.images)), generated.broken)
        if len(whole) == 0:
            nothing = Memorization(
                statistic=SQUARED,
                space="pixels",
                count=0,
                control_count=len(self.reference.held_out),
                cannot_say="no generated picture is whole",
            )
            return ModelMeasurements((nothing,), (), tuple(self._missing), None)
        pictures = of_places(generated.images, whole)
        sets = self.sets_of(pictures)
        findings = search_pixels(
            sets, self._control, self.progress, self.reference.draws, self.reference.skips
        )
        findings = _renumbered(findings, whole)
        memorization, quality, missing = list(findings.measures), [], list(self._missing)
        enough = min(len(whole), len(self.reference.held_out)) >= LEAST_COMPARED
        for space in self._features:
            rows = rows_of(pictures, space, self._told("embedding", len(whole)), self.team)
            training, held_out = self._real_rows(space)
            if not isinstance(space, PrincipalComponents):
                memorization.append(
                    search_features(space.name, unit(training), unit(held_out), unit(rows), sets)
                )
            if enough:
                quality += quality_of(space.name, held_out, rows, self._anchors_in(space))
        if not enough:
            reason = f"{len(self.reference.held_out)} held-out pictures, {len(whole)} generated"
            missing.append(Missing(measure="quality", reason=reason))
        if self._clip is not None and prompts is not None:
            quality.append(self._clip_score(self._clip, pictures, [prompts[i] for i in whole]))
        return ModelMeasurements(tuple(memorization), tuple(quality), tuple(missing), findings)

    def sets_of(self, generated: ImageSet) -> AuditImages:
        """The pictures of an audit of these."""
        reference = self.reference
        return AuditImages(
            reference.training,
            reference.as_learned[1],
            generated,
            reference.groups,
            reference.mirrored,
            self.device,
            reference.crops,
        )

    def _real_rows(self, space: FeatureSpace) -> tuple[Rows, Rows]:
        if space.name not in self._real:
            training, held_out = (
                rows_of(
                    pictures, space, self._told("embedding real pictures", len(pictures)), self.team
                )
                if len(pictures)
                else np.empty((0, 1), np.float32)
                for pictures in (self.reference.training, self.reference.as_learned[1])
            )
            self._real[space.name] = training, held_out
        return self._real[space.name]

    def _anchors_in(self, space: FeatureSpace) -> QualityAnchors | None:
        """The KID of fresh pictures and of noise; None where there are too few of them."""
        if space.name not in self._anchors:
            training, held_out = self._real_rows(space)
            if min(len(training), len(held_out)) < LEAST_COMPARED:
                return None
            if self.reference.drawn is not None:
                learned = self.reference.drawn[0]
                told = self._told("embedding real pictures", len(learned))
                training = rows_of(learned, space, told, self.team)
            noise = noise_like(self.reference.training, _NOISES)
            rows = rows_of(noise, space, self._told("embedding noise", _NOISES), self.team)
            self._anchors[space.name] = QualityAnchors.of(held_out, training, rows)
        return self._anchors[space.name]

    def _told(self, what: str, total: int) -> Callable[[int], None]:
        return lambda done: self.progress(what, done, total)

    def _clip_score(self, clip: ClipScore, pictures: ImageSet, prompts: Sequence[str]) -> Quality:
        found = []
        for start in range(0, len(prompts), 32):
            part = torch.from_numpy(np.ascontiguousarray(pictures[start : start + 32]))
            found += clip(part, prompts[start : start + 32]).tolist()
        mean, interval = mean_interval(found)
        return Quality(
            measure="CLIP score",
            space=clip.name,
            count=len(found),
            reference_count=0,
            value=mean,
            interval=interval,
            better="higher",
            note="how well pictures show their prompts; no real pictures are involved",
        )


def _renumbered(findings: Findings, whole: Ints) -> Findings:
    """Places among all generated pictures, the broken ones counted."""
    pairs = [replace(pair, generated=int(whole[pair.generated])) for pair in findings.pairs]
    return replace(findings, pairs=pairs, beyond=whole[findings.beyond])
