"""The report as a person sees it, in a real browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from memshield.audit.images import ImageSet
from tests.audit.runs import command, save_pictures
from tests.tiny import pictures

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

MOST_BYTES = 10_000_000


def set_of(count: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.stack(pictures(count, 16, 3, seed)).transpose(0, 3, 1, 2)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return audit_of(1000, tmp_path_factory.mktemp("audit"))


def audit_of(generated: int, folder: Path) -> Path:
    """An audit of pictures of which 300 are copies of the training pictures."""
    training = save_pictures(set_of(300, 0), folder / "training")
    fresh = save_pictures(set_of(300, 1), folder / "fresh")
    made = np.concatenate([set_of(300, 0), set_of(generated - 300, 2)])
    images = save_pictures(ImageSet(made.shape, lambda places: made[places]), folder / "made")
    command(
        "audit", "--images", images, "--train_data_dir", training,
        "--held_out_data_dir", fresh, "--output_dir", folder / "out",
    )  # fmt: skip
    return folder / "out"


def opened(browser: Browser, path: Path, **settings: object) -> tuple[Page, list[str]]:
    """A page, and what went wrong or was asked for while it loaded."""
    page = browser.new_page(**settings)  # type: ignore[arg-type]
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url))
    page.goto(path.as_uri())
    return page, [problem for problem in problems if problem != path.as_uri()
                  and not problem.startswith("data:")]  # fmt: skip


def shoot(page: Page, name: str) -> None:
    """Keep a screenshot where MEMSHIELD_SCREENSHOTS names a folder."""
    if folder := os.environ.get("MEMSHIELD_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.mark.slow
def test_the_report_of_ten_thousand_pictures_is_small_and_whole(
    browser: Browser, tmp_path: Path
) -> None:
    audited = audit_of(10_000, tmp_path)
    assert (audited / "private.html").stat().st_size < MOST_BYTES
    path = audited / "report.html"
    assert path.stat().st_size < MOST_BYTES
    page, problems = opened(browser, path)
    assert problems == []
    copies, quality = page.locator(".verdict").all()
    assert copies.is_visible() and quality.is_visible()
    assert copies.inner_text().startswith("Copies\n")
    assert "pictures, where chance makes about 100" in copies.inner_text()
    assert quality.inner_text().startswith("Quality\n")
    assert page.locator("svg").count() == 1
    assert page.locator("svg").first.is_visible()
    assert page.locator("h1").count() == 1
    shoot(page, "report")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_fits_a_phone(browser: Browser, audited: Path, scheme: str) -> None:
    phone = {"viewport": {"width": 360, "height": 700}, "color_scheme": scheme}
    page, problems = opened(browser, audited / "report.html", **phone)
    assert problems == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    shoot(page, f"report-phone-{scheme}")
    page.close()


def test_the_private_page_shows_the_pairs(browser: Browser, audited: Path) -> None:
    path = audited / "private.html"
    assert path.stat().st_size < MOST_BYTES
    page, problems = opened(browser, path)
    assert problems == []
    assert page.get_by_text("Keep it as private as they are").is_visible()
    assert page.locator("figure").count() >= 100
    broken = "[...document.images].filter(image => !image.naturalWidth).length"
    assert page.evaluate(broken) == 0
    pair = page.locator("section figure").first.locator("img")
    generated, training = (pair.nth(i).bounding_box() for i in range(2))
    assert generated is not None
    assert training is not None
    assert generated["y"] == training["y"]
    assert generated["x"] + generated["width"] <= training["x"]
    shoot(page, "private")
    page.close()
