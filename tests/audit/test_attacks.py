"""What an attack says of scores that are no numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from memshield.audit.attacks import LEAST, _attacked
from memshield.audit.images import ImageSet
from memshield.audit.membership import Scores
from memshield.audit.report import Attack, Missing

PICTURES = ImageSet((30, 1, 2, 2), lambda places: np.zeros((len(places), 1, 2, 2), np.uint8))
REFERENCE: Any = SimpleNamespace(
    training=PICTURES, held_out=PICTURES, captions=None, held_out_captions=None
)


@pytest.mark.parametrize("broken", [0, 1, 30 - LEAST, 30 - LEAST + 1])
def test_scores_of_a_partly_broken_model_are_left_out_and_counted(broken: int) -> None:
    def score(pictures: ImageSet, texts: object, told: object) -> Scores:
        scores = np.linspace(0.0, 1.0, len(pictures))
        scores[:broken] = np.nan
        return scores

    found = _attacked("loss", REFERENCE, 1000, score, 0, lambda *told: None)
    if 30 - broken < LEAST:
        assert found == Missing(measure="loss", reason=f"{2 * broken} scores are no numbers")
        return
    assert isinstance(found, Attack)
    assert (found.members, found.held_out) == (30 - broken, 30 - broken)
    assert found.auc == 0.5
    assert (f"{2 * broken} scores that are no numbers" in (found.note or "")) == bool(broken)
