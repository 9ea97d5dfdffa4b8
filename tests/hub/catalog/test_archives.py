"""Names of files beside others, and what no metadata may reach."""

from __future__ import annotations

import pytest

from memshield.hub.catalog.archives import beside


@pytest.mark.parametrize(
    ("name", "relative", "expected"),
    [
        ("metadata.csv", "a.png", "a.png"),
        ("train/metadata.csv", "x/a.png", "train/x/a.png"),
        ("train/metadata.csv", "x/../a.png", "train/a.png"),
        ("a.zip::in/metadata.csv", "b.png", "a.zip::in/b.png"),
        ("train/metadata.csv", "../test/a.png", None),
        ("train/metadata.csv", "x/../../a.png", None),
        ("metadata.csv", "/etc/passwd", None),
        ("metadata.csv", "file:///etc/passwd", None),
        ("metadata.csv", "", None),
        ("metadata.csv", ".", None),
    ],
)
def test_beside(name: str, relative: str, expected: str | None) -> None:
    assert beside(name, relative) == expected
