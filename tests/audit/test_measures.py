"""The search in pixels, on arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memshield.audit.measures import (
    AuditImages,
    Findings,
    search_control,
    search_pixels,
)
from memshield.audit.quality import QualityAnchors, noise_like, quality_of
from memshield.audit.report import SQUARED
from memshield.audit.search.features import PrincipalComponents
from memshield.audit.statements import statements_of
from tests.audit.pictures import Pictures, smooth_fields
from tests.audit.reports import report_of


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return smooth_fields(1000, np.random.default_rng(0), 16)


def search(training: Pictures, held_out: Pictures, generated: Pictures) -> Findings:
    groups = np.arange(len(training))
    sets = AuditImages(training, held_out, generated, groups, False, torch.device("cpu"))
    quiet = lambda what, done, total: None  # noqa: E731
    return search_pixels(sets, search_control(sets, quiet), quiet)


def test_fixed_alphas_stand_beside_the_calibrated_share(pictures: Pictures) -> None:
    training, held_out = pictures[:300], pictures[300:600]
    headline = search(training, held_out, np.concatenate([training[:50], pictures[600:]])).measures[
        0
    ]
    assert headline.statistic == SQUARED
    assert headline.figures["share under 0.1"] == pytest.approx(50 / 450)
    assert headline.figures["share under 0.1, fresh real pictures"] == 0
    curve = {point.alpha: point for point in headline.curve}
    for alpha in (0.1, 0.3, 0.5):
        assert headline.figures[f"share under {alpha}"] == curve[alpha].share
        assert headline.figures[f"share under {alpha}, fresh real pictures"] == curve[alpha].control


@pytest.mark.parametrize("kind", ["mean", "flat", "shuffled"])
def test_pictures_of_nothing_are_never_close_to_fresh_ones(pictures: Pictures, kind: str) -> None:
    """Beside noise, everything of the right colours has a small KID; it covers nothing, though."""
    light = 200 + pictures // 5  # far from noise, as drawings on white paper are
    training, held_out, fresh = light[:300], light[300:600], light[600:900]
    nothing = {
        "mean": np.repeat(training.mean(0, keepdims=True).round().astype(np.uint8), 300, 0),
        "flat": np.repeat(
            np.repeat(training.mean((2, 3), keepdims=True).round().astype(np.uint8), 16, 2), 16, 3
        ),
        "shuffled": np.random.default_rng(1)
        .permuted(training.reshape(300, 3, -1), axis=2)
        .reshape(training.shape),
    }[kind]
    space = PrincipalComponents(training)
    rows = [space(torch.from_numpy(each)).numpy() for each in (held_out, training, nothing, fresh)]
    noise = space(torch.from_numpy(noise_like(training, 300))).numpy()
    anchors = QualityAnchors.of(rows[0], rows[1], noise)
    learned, good = (
        report_of(-0.01, 0.01).model_copy(
            update={"quality": tuple(quality_of(space.name, rows[0], each, anchors))}
        )
        for each in rows[2:]
    )
    assert statements_of(good)[1].words == "close to fresh pictures"
    assert statements_of(learned)[1].words != "close to fresh pictures"
    assert {one.tone for one in statements_of(learned)} != {"calm"}


def test_copies_among_the_held_out_pictures_are_no_proof_of_innocence(pictures: Pictures) -> None:
    """Nothing can lie below a ratio of 0: an excess under 0 would say so of any model."""
    training = pictures[:300]
    held_out = np.concatenate([training[:10], pictures[300:600]])
    for generated in (pictures[600:], training[:100]):
        headline = search(training, held_out, generated).measures[0]
        assert headline.cannot_say is not None
        assert "equal" in headline.cannot_say
        assert headline.share is None
        assert headline.excess is None


def test_equal_held_out_pictures_hide_no_memorization(pictures: Pictures) -> None:
    """Four times the most extreme one: a threshold all the same, which copies are beyond."""
    training, held_out = pictures[:300], pictures[300:600]
    most = search(training, held_out, held_out).pairs[0].generated
    held_out = np.concatenate([held_out, held_out[[most] * 3]])
    copying = search(training, held_out, training[:100]).measures[0]
    assert copying.cannot_say is None
    assert copying.share == 1
    innocent = search(training, held_out, pictures[600:]).measures[0]
    assert innocent.cannot_say is not None


def test_copies_are_at_risk_by_name(pictures: Pictures) -> None:
    training = pictures[:300]
    repeated = np.concatenate([training[[7] * 5], training[[3] * 2], pictures[600:700]])
    found = search(training, pictures[300:600], repeated)
    assert [(one.index, one.count) for one in found.at_risk[:2]] == [(7, 5), (3, 2)]
    assert {pair.training for pair in found.pairs[:7]} == {3, 7}
