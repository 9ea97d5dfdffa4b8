"""Every view in a real browser, light and dark, on a desk and on a phone."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.audit.runs import QUICK, command, small_run
from tests.ui.axe import violations
from tests.ui.demo import demo

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

_OVERFLOWING = """
() => [...document.querySelectorAll('.ms *')].filter(one => {
  const box = one.getBoundingClientRect();
  const inside = one.closest('.ms-scroll, .ms-strip, .ms-command, .ms-card pre, .ms-hidden');
  if (box.width === 0 || inside) return false;
  return box.right > document.documentElement.clientWidth + 1 || box.left < -1;
}).map(one => one.outerHTML.slice(0, 120))
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page in both colours, of one run that was trained and audited."""
    folder = tmp_path_factory.mktemp("views")
    settings = {"num_validation_images": 4, "num_inference_steps": 3}
    run = small_run(folder, memorization_budget=0.5, audit_num_images=40, **settings)
    command("audit", run.path, *QUICK)
    made = {}
    for name in ("light", "dark"):
        (folder / name).mkdir()
        made[name] = folder / f"{name}.html"
        made[name].write_text(demo(run, folder / name, name == "dark"), encoding="utf-8")
    return made


def opened(browser: Browser, path: Path, width: int) -> Page:
    """The page, which says nothing on the console and asks for nothing."""
    page = browser.new_page(viewport={"width": width, "height": 900}, reduced_motion="reduce")
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url))
    page.goto(path.as_uri())
    asked = [one for one in problems if one != path.as_uri() and not one.startswith("data:")]
    assert asked == []
    return page


@pytest.mark.slow
@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_every_view_fits(
    browser: Browser, pages: dict[str, Path], colours: str, width: int
) -> None:
    page = opened(browser, pages[colours], width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(_OVERFLOWING) == []
    assert page.evaluate("[...document.images].filter(one => !one.naturalWidth).length") == 0
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # A log is read from its end.
    log = "document.querySelector('.ms-log')"
    assert page.evaluate(f"Math.abs({log}.scrollTop) < 1")
    shoot(page, f"views-{colours}-{width}")
    page.close()


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, pages: dict[str, Path], colours: str) -> None:
    page = opened(browser, pages[colours], 1200)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert violations(page, "main", grave=True) == []
    page.close()


def shoot(page: Page, name: str) -> None:
    """Keep a screenshot of every view where MEMSHIELD_SCREENSHOTS names a folder."""
    from playwright.sync_api import Error

    folder = os.environ.get("MEMSHIELD_SCREENSHOTS")
    if folder:
        # A busy Chromium cannot take every picture of so tall a page, and nothing hangs on it.
        with contextlib.suppress(Error):
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
