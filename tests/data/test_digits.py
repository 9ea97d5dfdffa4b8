"""The built-in digits, with the datasets library and without."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from memshield.data.columns import Columns
from memshield.data.digits import Digits
from memshield.data.images import open_image
from memshield.data.source import Source, SourceSettings, open_source
from tests.data import settings
from tests.refusals import refusal_of


def open_digits(**changes: Any) -> Source:
    return open_source(SourceSettings.of(settings("sklearn:digits", **changes)))


refusal = partial(refusal_of, open_digits)


def test_the_built_in_digits() -> None:
    source = open_digits()
    assert len(source) == 1797
    assert source.columns == Columns("image", None, "label")
    labels = source.labels()
    assert labels is not None
    assert sorted(set(labels)) == list(range(10))
    pixels = np.asarray(open_image(source.picture(0)))
    assert pixels.shape == (8, 8)
    assert pixels.dtype == np.uint8
    assert (pixels.min(), pixels.max()) == (0, round(15 * 255 / 16))


@pytest.mark.parametrize("changes", [{}, {"max_train_samples": 50, "seed": 3}])
def test_the_digits_are_the_same_with_the_datasets_library_and_without(
    changes: dict[str, Any],
) -> None:
    without, with_it = (
        open_digits(**changes, **columns) for columns in ({}, {"image_column": "image"})
    )
    assert not isinstance(without.rows, type(with_it.rows))
    assert (without.columns, without.there) == (with_it.columns, with_it.there)
    assert without.labels() == with_it.labels()
    rows = list(range(0, len(without), 7))
    for one, other in zip(without.pictures(rows), with_it.pictures(rows), strict=True):
        assert open_image(one).mode == open_image(other).mode
        assert np.array_equal(np.asarray(open_image(one)), np.asarray(open_image(other)))


def test_the_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    ours, theirs = Digits.load(), load_digits()
    assert np.array_equal(ours.images, np.rint(theirs.images * 255 / 16))
    assert ours.labels == theirs.target.tolist()


def test_a_column_that_the_digits_have_not_is_refused() -> None:
    assert "image, label" in refusal(caption_column="text")
