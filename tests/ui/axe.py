"""What axe-core says against a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from axe_playwright_python.sync_playwright import Axe

if TYPE_CHECKING:
    from playwright.sync_api import Page

GRAVE = ("serious", "critical")
# gradio fades what is being answered, and axe would measure the contrast of what is half there.
# What a press or another colour sets off begins some frames later.
_SETTLED = """() => {
  const seen = [...document.querySelectorAll('.pending')].some(one => one.offsetParent !== null);
  const moves = one => one instanceof CSSTransition && one.playState === 'running';
  const moving = seen || document.getAnimations().some(moves);
  window.framesAtRest = moving ? 0 : window.framesAtRest + 1;
  return window.framesAtRest > 6;
}"""


def violations(
    page: Page, within: str | None = None, grave: bool = False, rules: Sequence[str] = ()
) -> list[str]:
    """Rules that are broken, where, and why.

    Args:
        page: as it stands.
        within: selector of the part to look at; all of it without.
        grave: whether only serious and critical ones are told.
        rules: to look for; all of them without.
    """
    page.evaluate("window.framesAtRest = 0")
    page.wait_for_function(_SETTLED)
    options: dict[str, Any] = {"runOnly": list(rules)} if rules else {}
    found = Axe().run(page, within, {"resultTypes": ["violations"], **options})
    return [
        f"{one['id']} ({one['impact']}): {node['html'][:200]} {node['failureSummary']}"
        for one in found.response["violations"]
        for node in one["nodes"]
        if not grave or one["impact"] in GRAVE
    ]
