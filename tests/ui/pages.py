"""The page as a person meets it: what Chromium shows of it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tests.ui.servers import PATIENCE, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

_FOLDED = ("Epochs", "Rounds", "Shards", "Memorization budget", "Resolution", "Publish as")
_TWO_FRAMES = (
    "() => new Promise((seen) => requestAnimationFrame(() => requestAnimationFrame(seen)))"
)


class Visit:
    """One visitor's browser window, and what went wrong in it.

    Args:
        browser: that it is a window of.
        url: of the page.
        hub: where the Hub is, if the page leads there.
        colours, width: of the window.
        form: whether to go on to the form of a new training, past the first screen.

    Attributes:
        page: the window.
        problems: errors on the console and requests to anywhere but the server.
    """

    def __init__(
        self,
        browser: Browser,
        url: str,
        hub: str = "",
        colours: Literal["light", "dark"] = "light",
        width: int = 1200,
        form: bool = True,
    ) -> None:
        self._context = browser.new_context(
            viewport={"width": width, "height": 900},
            reduced_motion="reduce",
            color_scheme=colours,
            ignore_https_errors=True,  # nobody vouches for a test's certificate
        )
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(PATIENCE * 1000)
        self.problems: list[str] = []
        self._hub = hub
        self._form = form
        self._own = tuple(one for one in (url, hub, "data:", "blob:") if one)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(error.stack or str(error)))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.goto(url)
        self.page.get_by_role("heading", name="MemShield").wait_for()
        if form:
            self.open_form()

    def open_form(self) -> None:
        """Open the form on the demo, unless a run goes on, which the page shows instead."""
        self.page.locator("#way-demo .ms-time:not([aria-hidden])").wait_for(state="attached")
        runs = self.page.get_by_role("tab", name="Runs", exact=True)
        if runs.get_attribute("aria-selected") == "true":
            self.page.locator("#runs [data-run]").first.wait_for()
            if re.search("Preparing|Training|Waiting|Audit:|Stopping", self.text("#runs")):
                return
        self.tab("New training")

    def _show_form(self) -> None:
        if not self.page.locator("#form").is_visible():
            self.page.locator("#demo-settings").click()
            self.page.locator("#form").wait_for()
            # The page goes to the form once its choices are set, which would undo a press before.
            self.page.wait_for_function("window.scrollY > 0")

    def painted(self) -> None:
        """Wait until what was laid out can be seen.

        gradio sets the values of new inputs once more just before, where no person has typed yet.
        """
        self.page.evaluate(_TWO_FRAMES)

    def _console(self, message: Any) -> None:
        where = message.location.get("url", "")
        # The Hub's own page is not ours: it has no icon here.
        if message.type == "error" and not (self._hub and where.startswith(self._hub)):
            self.problems.append(f"{message.text} {where}")

    def _asked(self, url: str) -> None:
        if not url.startswith(self._own):
            self.problems.append(url)

    def go(self, url: str | None = None) -> None:
        """Load another address, or this one anew, in the middle of whatever goes on."""
        url = url or self.page.url
        before = len(self.problems)
        self.page.goto("about:blank")
        self.page.wait_for_timeout(300)
        # gradio complains of its requests that were under way in the page that is left.
        del self.problems[before:]
        self.page.goto(url)
        self.page.get_by_role("heading", name="MemShield").wait_for()
        if self._form:
            self.open_form()

    @contextlib.contextmanager
    def leaving(self) -> Iterator[None]:
        """Leave for another page, and come to it."""
        before = len(self.problems)
        yield
        # gradio complains of its requests that were under way in the page that is left.
        now = self.problems[before:]
        self.problems[before:] = [one for one in now if one.startswith("http")]

    def sign_in(self, name: str) -> None:
        """Sign in, on the Hub's own page, as a user that it knows."""
        with self.leaving():
            self.page.get_by_role("button", name="Sign in with Hugging Face").click()
            self.page.get_by_role("button", name=name, exact=True).click()
            self.page.get_by_role("button", name=f"Logout ({name})").wait_for()
        if self._form:
            self.open_form()

    def sign_out(self, name: str) -> None:
        """Sign out again."""
        with self.leaving():
            self.page.get_by_role("button", name=f"Logout ({name})").click()
            self.page.get_by_role("button", name="Sign in with Hugging Face").wait_for()
        if self._form:
            self.open_form()

    def close(self) -> None:
        """Close the window, as a person does who has other things to do."""
        self._context.close()

    def tab(self, name: str) -> None:
        """Go to a tab; that of a new training shows its form."""
        self.page.get_by_role("tab", name=name, exact=True).click()
        if name == "New training" and self._form:
            self._show_form()

    def press(self, name: str) -> None:
        """Press the button that can be seen."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def unfold(self, title: str) -> None:
        """Open a folded part of the page, unless it is open.

        A press is lost where the page moves between button down and up, so it may take another.
        """
        part = self.page.get_by_role("button", name=title)

        def is_open() -> bool:
            return "open" in (part.get_attribute("class") or "").split()

        def opened() -> bool:
            if not is_open():
                part.click()
                self.painted()
            return is_open()

        until(opened)

    def fill(self, label: str, value: str) -> None:
        """Type into an input, and leave it."""
        box = self._input(label)
        box.wait_for()
        self.painted()
        box.fill(value)
        box.press("Tab")

    def sees(self, text: str, within: str = "body", seconds: float = PATIENCE) -> Locator:
        """Wait until a part of the page shows words."""
        found = self.page.locator(within).get_by_text(text).locator("visible=true").first
        found.wait_for(timeout=seconds * 1000)
        return found

    def text(self, within: str) -> str:
        """What a part of the page says."""
        return self.page.locator(within).inner_text()

    def progress(self) -> int:
        """The step that is shown of the chosen run; 0 where none is."""
        bars = self.page.locator("#state [role=progressbar]").all()
        return int(bars[0].get_attribute("aria-valuenow") or 0) if bars else 0

    def shoot(self, name: str) -> None:
        """Keep a screenshot where MEMSHIELD_SCREENSHOTS names a folder."""
        folder = os.environ.get("MEMSHIELD_SCREENSHOTS")
        if folder:
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    def value(self, label: str) -> str:
        """What is in an input."""
        return self._input(label).input_value()

    def _input(self, label: str) -> Locator:
        """The visible input; the settings are unfolded where it is among them."""
        # What explains an input is part of its label.
        name = re.compile(rf"^\s*{re.escape(label)}\b")
        if label in _FOLDED:
            self.unfold("More settings")
        return self.page.get_by_label(name).locator("visible=true").first

    def open_advanced(self) -> None:
        """Show all other settings."""
        self.unfold("All other settings")
        self.page.get_by_label("max train steps").wait_for()
