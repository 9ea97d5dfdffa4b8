"""The page as a person meets it: `python app.py` in a process of its own, and what Chromium shows.

Nothing is scripted in the server: the trainings that it starts are real, but for those that nobody
looks at.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx2
import psutil

from memshield.jobs.processes import MARK
from tests.hub_server.environment import child_environment
from tests.trained_runs import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

    from tests.hub_server import HubServer

_FOLDED = ("Epochs", "Rounds", "Shards", "Memorization budget", "Resolution", "Publish as")
_TWO_FRAMES = (
    "() => new Promise((seen) => requestAnimationFrame(() => requestAnimationFrame(seen)))"
)
_IDLE = """
import sys, time
if "accelerate.commands.launch" in sys.orig_argv:
    time.sleep(3600)
"""
PATIENCE = 120.0
"""Seconds that a busy machine may take for anything; nothing here is a timing."""


class Running:
    """A page's server, and what it keeps.

    Attributes:
        url: of the page.
        data: folder of jobs, runs and uploads.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str, data: Path, log: Path) -> None:
        self.process = process
        self.url = url
        self.data = data
        self._log = log

    @property
    def received(self) -> Path:
        """Where gradio puts uploads."""
        return self.data.parent / "gradio"

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    @property
    def said(self) -> str:
        """Everything that the server printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def runs(self) -> list[Path]:
        """Run directories of all jobs."""
        return sorted(path.parent for path in self.data.glob("jobs/*/*/status.json"))

    def state(self) -> str | None:
        """What the only run says of itself; None before it says anything."""
        found = self.runs()
        return None if not found else str(read_status(found[0]).get("state"))

    def kill(self) -> None:
        """SIGKILL, as a machine that is out of memory does it."""
        self.process.kill()
        self.process.wait()


def read_status(run: Path) -> dict[str, Any]:
    """A run's status.json."""
    return dict(json.loads((run / "status.json").read_text()))


def home_environment(folder: Path, endpoint: str = "http://127.0.0.1:9") -> dict[str, str]:
    """Of a server at home; by default nothing answers where the Hub should be."""
    values = child_environment(os.environ, endpoint, folder / "hf", None)
    return values | {
        "OMP_NUM_THREADS": "1",
        "MEMSHIELD_CACHE": str(folder / "cache"),
        "GRADIO_TEMP_DIR": str(folder / "gradio"),
    }


def space_environment(
    folder: Path, hub: HubServer, operators_token: str, scopes: str = "contribute-repos"
) -> dict[str, str]:
    """Of a server on a Space, whose Hub and sign-in are on loopback.

    Args:
        folder: of the server.
        hub: knows the app `app` with the secret `of-the-app`.
        operators_token: that the Space was given as a secret.
        scopes: that visitors are asked for.
    """
    return home_environment(folder, hub.endpoint) | {
        "SYSTEM": "spaces",
        "SPACE_ID": "operator/memshield",
        "OAUTH_CLIENT_ID": "app",
        "OAUTH_CLIENT_SECRET": "of-the-app",
        "OAUTH_SCOPES": f"openid profile {scopes}",
        "OPENID_PROVIDER_URL": hub.endpoint,
        "HF_TOKEN": operators_token,
    }


def with_idle_trainings(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """A server's environment in which trainings only wait, where no test looks at what they do.

    Args:
        environment: of the server otherwise.
        folder: for the module that every Python process imports as it starts.
    """
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(_IDLE)
    return {**environment, "PYTHONPATH": str(folder)}


@contextlib.contextmanager
def serving(folder: Path, environment: Mapping[str, str]) -> Iterator[Running]:
    """Start the page, wait until it answers, and stop it; trainings go on as they would."""
    running = start(folder, environment)
    try:
        yield running
    finally:
        running.process.terminate()
        try:
            running.process.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()


def start(
    folder: Path, environment: Mapping[str, str], port: int | None = None, app: Path = ROOT
) -> Running:
    """Start the page and wait until it answers.

    Args:
        folder: its data goes there.
        environment: all of it but for its data, address and port.
        port: to listen on; a free one without.
        app: folder of the app.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, data = port or free_port(), folder / "data"
    log = folder / f"server-{time.time_ns()}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=app,
            env={
                **environment,
                "MEMSHIELD_DATA": str(data),
                "GRADIO_SERVER_NAME": "127.0.0.1",
                "GRADIO_SERVER_PORT": str(port),
            },
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    # Not 127.0.0.1: sign-in's cookie is for secure origins, and Chromium takes this name for one.
    running = Running(process, f"http://localhost:{port}", data, log)

    def answers() -> bool:
        assert process.poll() is None, running.said
        with contextlib.suppress(httpx2.TransportError):
            return httpx2.get(f"http://127.0.0.1:{port}/", timeout=5).status_code == 200
        return False

    try:
        until(answers)
    except BaseException:
        running.kill()
        raise
    return running


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait for something to be true; what it was."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)
    return found


def end_tasks(data: Path) -> None:
    """Kill what the jobs below a folder left running, and nothing else."""
    ids = {path.name for path in (data / "jobs").glob("*")}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK, "").rpartition(":")[0] in ids:
                process.kill()


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
