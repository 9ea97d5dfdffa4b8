"""What children do: `python -m tests.ui.form.calls`; see tests.hub.catalog."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memshield.forecast.duplicates import find_duplicates, open_folder
from memshield.forecast.prices import HubPrices
from memshield.network import Token
from memshield.ui.form.advanced import advanced_fields
from memshield.ui.form.choices import Choices
from memshield.ui.form.problems import problems_of
from memshield.ui.form.recipes import recipes
from tests.hub.catalog.calls import serve


@dataclass(frozen=True)
class Problems:
    """By input."""

    found: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Others:
    """Of functions that ask nobody, and of prices."""

    fields: int
    pairs: int
    prices: list[dict[str, float]]


def problems(choices: dict[str, Any], token: Token) -> Problems:
    if "folder" in choices:
        choices["folder"] = Path(choices["folder"])
    found = problems_of(Choices(**choices), token=token)
    return Problems([(error.field, error.problem, error.remedy) for error in found])


def others(folder: str, token: Token) -> Others:
    prices = HubPrices()
    return Others(
        len(advanced_fields(recipes()["demo"])),
        len(find_duplicates(open_folder(Path(folder))).shown),
        [dict(prices.get()), dict(prices.get())],
    )


if __name__ == "__main__":
    serve({"problems": problems, "others": others})
