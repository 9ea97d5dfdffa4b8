"""The page as a browser meets it: its start, its first view, open tabs, and how old what they show.

python -m tests.bench.page [--tabs 20]
Aims on two cores: the server answers in under 10 s; the first view stands in under 2 s; 20 tabs
that watch one training cost the server under a quarter of a core; what is shown of a training is
at most a second old. Browser, server and training share the machine here.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import psutil
from gradio_client import Client
from playwright.sync_api import Browser, Page, sync_playwright

from tests.bench.common import report
from tests.ui.pages import Running, end_tasks, home_environment, start, until

VIEWS, WATCHED_S, LOOKED_S = 7, 60.0, 40.0
LONG = {"recipe": "demo", "epochs": 5000, "rounds": 20, "shards": 4, "budget": None}
WORDS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=which("chromium"), args=WORDS)
        yield found
        found.close()


def first_view(browser: Browser, url: str) -> float:
    """Seconds until a visitor who was never here can choose what to train."""
    context = browser.new_context()
    page = context.new_page()
    begun = time.perf_counter()
    page.goto(url)
    page.get_by_role("button", name="Start training").wait_for()
    seconds = time.perf_counter() - begun
    context.close()
    return seconds


def watching(browser: Browser, url: str, asked: list[str]) -> Page:
    """A tab that shows a running training. A window of its own: a browser holds few connections.

    Args:
        browser, url: of the page.
        asked: takes the address of everything that the tab asks for.
    """
    page = browser.new_context().new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    page.get_by_role("tab", name="Runs").click()
    page.locator("#state").get_by_text("Training").wait_for()
    return page


def cores_used(process: psutil.Process, seconds: float, page: Page) -> float:
    """Cores that a process uses, on average; the browser's events are heard meanwhile."""
    before = process.cpu_times()
    page.wait_for_timeout(1000 * seconds)
    after = process.cpu_times()
    return float(after.user + after.system - before.user - before.system) / seconds


def ages(page: Page, events: Path, seconds: float) -> list[float]:
    """How old what is shown is: for how long something newer was there to be read."""
    shown: list[tuple[float, int]] = []
    until_then = time.time() + seconds
    while time.time() < until_then:
        bar = page.locator("#state [role=progressbar]").first
        shown.append((time.time(), int(bar.get_attribute("aria-valuenow") or 0)))
        time.sleep(0.05)
    found = [json.loads(line) for line in events.read_text().splitlines()]
    steps = [(one["step"], one["time"]) for one in found if one["type"] == "step"]
    return [
        max(0.0, now - next((at for number, at in steps if number > step), now))
        for now, step in shown
    ]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tabs", type=int, default=20)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    options.device = "cpu"
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        begun = time.perf_counter()
        running = start(folder, home_environment(folder))
        up = time.perf_counter() - begun
        try:
            figures = _figures(running, browser, options.tabs)
        finally:
            running.kill()
            end_tasks(running.data)
        report(
            "page",
            options,
            {"tabs": options.tabs, "views": VIEWS, "watched_s": WATCHED_S},
            server_up_s=up,
            **figures,
        )


def _figures(running: Running, browser: Browser, tabs: int) -> dict[str, Any]:
    views = [first_view(browser, running.url) for _ in range(VIEWS)]
    job = Client(running.url, verbose=False).predict(LONG, api_name="/submit")
    until(lambda: running.state() == "running")
    server = psutil.Process(running.process.pid)
    asked: list[str] = []
    pages = [watching(browser, running.url, asked)]
    time.sleep(5)
    age = ages(pages[0], running.runs()[0] / "events.jsonl", LOOKED_S)
    one = cores_used(server, WATCHED_S, pages[0])
    pages += [watching(browser, running.url, asked) for _ in range(tabs - 1)]
    pages[0].wait_for_timeout(10_000)
    asked.clear()
    all_of_them = cores_used(server, WATCHED_S, pages[0])
    looks = sum(one.endswith("/run/predict") for one in asked)
    assert running.state() == "running", job
    return {
        "first_view_s": {"first": views[0], "median": statistics.median(views)},
        "server_cores": {"one tab": one, f"{tabs} tabs": all_of_them},
        "looks_a_second": looks / WATCHED_S,
        "server_bytes": server.memory_info().rss,
        "age_s": {
            "median": statistics.median(age),
            "99 %": statistics.quantiles(age, n=100)[98],
            "largest": max(age),
        },
    }


if __name__ == "__main__":
    main()
