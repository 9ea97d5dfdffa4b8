"""Lines for people."""

from __future__ import annotations

import pytest

from memshield.hub.catalog.table import facts, plain, rounded, table


def test_columns_are_aligned_under_their_heads() -> None:
    assert table(("NAME", "ROWS:", ""), [("a", "5", "x"), ("bcdef", "12345", "")]).splitlines() == [
        "NAME    ROWS",
        "a          5  x",
        "bcdef  12345",
    ]


def test_names_and_values() -> None:
    assert facts([("id", "a/b"), ("commit", "c")]) == "id      a/b\ncommit  c"


def test_what_strangers_write_cannot_steer_the_terminal() -> None:
    assert plain("a\x1b[31m\nb\u202ec") == "a?[31m b?c"


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (None, "?"), (0, "0"), (999, "999"), (1000, "1 K"), (52_004, "52 K"),
        (859_520_964, "860 M"), (999_999, "1 M"), (1_234_567, "1.23 M"), (10**16, "10000 T"),
    ],
)  # fmt: skip
def test_three_figures(count: int | None, expected: str) -> None:
    assert rounded(count) == expected
