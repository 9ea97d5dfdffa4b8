"""What axe-core says against a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from axe_playwright_python.sync_playwright import Axe

if TYPE_CHECKING:
    from playwright.sync_api import Page

GRAVE = ("serious", "critical")
# gradio fades what is being answered, and axe would measure the contrast of what is half there.
_SETTLED = """() => {
  const seen = [...document.querySelectorAll('.pending')].some(one => one.offsetParent !== null);
  const moves = one => one instanceof CSSTransition && one.playState === 'running';
  return !seen && !document.getAnimations().some(moves);
}"""


def violations(page: Page, within: str | None = None, grave: bool = False) -> list[str]:
    """Rules that are broken, where, and why.

    Args:
        page: as it stands.
        within: selector of the part to look at; all of it without.
        grave: whether only serious and critical ones are told.
    """
    page.wait_for_timeout(500)
    page.wait_for_function(_SETTLED)
    found = Axe().run(page, context=within).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {node['html'][:200]} {node['failureSummary']}"
        for one in found
        for node in one["nodes"]
        if not grave or one["impact"] in GRAVE
    ]
