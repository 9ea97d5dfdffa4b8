"""The membership-inference attacks of an audit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from memshield.audit.images import ImageSet, Ints, of_places
from memshield.audit.measures import OnProgress
from memshield.audit.membership import Scores, loss_scores, pia_scores, prompt_scores
from memshield.audit.reference import Reference
from memshield.audit.report import Attack, Missing
from memshield.audit.stats.auc import separation
from memshield.families.base import Family
from memshield.randomness import Purpose, numpy_generator

MOST, MOST_PROMPTS = 1000, 100
"""Members, and held-out pictures, that are attacked at most."""
LEAST = 10

Score = Callable[[ImageSet, list[str] | None, Callable[[int], object]], Scores]


def attack_all(
    family: Family, reference: Reference, seed: int, progress: OnProgress
) -> tuple[list[Attack], list[Missing]]:
    """Every attack that the model and the held-out pictures allow.

    Args:
        family: with the weights as they are.
        reference: its training and held-out pictures.
        seed: of what is drawn.
        progress: is told how far it is.
    """
    if len(reference.held_out) < LEAST:
        reason = f"{len(reference.held_out)} held-out pictures, {LEAST} are needed"
        return [], [Missing(measure="membership inference", reason=reason)]
    needs_text = family.facts.needs_captions
    if needs_text and (reference.captions is None or reference.held_out_captions is None):
        reason = "held-out pictures have no captions"
        return [], [Missing(measure="membership inference", reason=reason)]
    # A distilled model is sampled without guidance, which would drive it off what it knows.
    guidance = 1.0 if family.facts.distilled else 7.5
    attacks: list[tuple[str, int, Score]] = [
        (
            "denoising loss (Matsumoto et al. 2023)",
            MOST,
            lambda pictures, texts, told: loss_scores(family, pictures, texts, seed, progress=told),
        ),
        (
            "proximal initialization (Kong et al. 2023)",
            MOST,
            lambda pictures, texts, told: pia_scores(family, pictures, texts, progress=told),
        ),
    ]
    if needs_text:
        attacks.append(
            (
                "prompt magnitude (Wen et al. 2024)",
                MOST_PROMPTS,
                lambda pictures, texts, told: prompt_scores(
                    family, texts or [], seed, guidance=guidance, progress=told
                ),
            )
        )
    found = [
        _attacked(name, reference, most, score, seed, progress) for name, most, score in attacks
    ]
    return (
        [one for one in found if isinstance(one, Attack)],
        [one for one in found if isinstance(one, Missing)],
    )


def _attacked(
    name: str, reference: Reference, most: int, score: Score, seed: int, progress: OnProgress
) -> Attack | Missing:
    """An attack; scores that are no numbers, of a broken model, are left out and counted."""
    members, held_out = (
        _scores(name, pictures, texts, most, score, seed, progress)
        for pictures, texts in (
            (reference.training, reference.captions),
            (reference.held_out, reference.held_out_captions),
        )
    )
    whole = [scores[np.isfinite(scores)] for scores in (members, held_out)]
    lost = len(members) + len(held_out) - sum(map(len, whole))
    members, held_out = whole
    if lost and min(len(members), len(held_out)) < LEAST:
        return Missing(measure=name, reason=f"{lost} scores are no numbers")
    result = separation(members, held_out, numpy_generator(seed, Purpose.ATTACK))
    left_out = f"{lost} scores that are no numbers are left out" if lost else None
    return Attack(
        attack=name,
        members=result.members,
        held_out=result.held_out,
        auc=result.auc,
        auc_interval=result.auc_interval,
        tpr_at_1_percent_fpr=result.tpr,
        tpr_interval=result.tpr_interval,
        note="; ".join(one for one in (result.note, left_out) if one) or None,
    )


def _scores(
    name: str,
    pictures: ImageSet,
    captions: Any,
    most: int,
    score: Score,
    seed: int,
    progress: OnProgress,
) -> npt.NDArray[np.float64]:
    chosen = _draw(len(pictures), most, seed)
    texts = None if captions is None else [captions[i] for i in chosen.tolist()]
    return score(of_places(pictures, chosen), texts, lambda done: progress(name, done, len(chosen)))


def _draw(count: int, most: int, seed: int) -> Ints:
    drawn = numpy_generator(seed, Purpose.ATTACK, count).permutation(count)[:most]
    return np.sort(drawn)
