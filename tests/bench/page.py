"""The page as a browser meets it: its start, its first view, open tabs, and how old what they show.

python -m tests.bench.page [--tabs 20]
Aims on two cores: the server answers in under 10 s; the first view stands in under 2 s; 20 tabs
that watch one training cost the server under a quarter of a core; what is shown of a training is
at most a second old; the browser works for under a second when an input is left. Browser, server
and training share the machine here.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which
from typing import Any

import httpx2
import psutil
from gradio_client import Client
from playwright.sync_api import Browser, Page, sync_playwright

from tests.bench.common import report
from tests.ui.pages import Visit
from tests.ui.servers import Running, end_tasks, home_environment, start, until

VIEWS, WATCHED_S, LOOKED_S, LEFT_S = 7, 60.0, 40.0, 4.0
LONG = {"recipe": "demo", "epochs": 5000, "rounds": 20, "shards": 4, "budget": None}
WORDS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=which("chromium"), args=WORDS)
        yield found
        found.close()


def first_view(browser: Browser, url: str) -> tuple[float, float]:
    """Seconds until a new visitor can choose what to train, and until the form then shows."""
    context = browser.new_context()
    page = context.new_page()
    begun = time.perf_counter()
    page.goto(url)
    page.get_by_role("button", name="Start the demo").wait_for()
    seen = time.perf_counter() - begun
    page.locator("#demo-settings").click()
    page.locator("#form").wait_for()
    opened = time.perf_counter() - begun
    context.close()
    return seen, opened


def work(page: Page, seconds: float) -> float:
    """Seconds of a span in which a page's main thread works."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def spent() -> float:
        found = session.send("Performance.getMetrics")["metrics"]
        return next(float(one["value"]) for one in found if one["name"] == "TaskDuration")

    before = spent()
    page.wait_for_timeout(seconds * 1000)
    return spent() - before


def input_left(browser: Browser, url: str) -> float:
    """Seconds that the page works from when an input of the form is left, the median of some."""
    visit = Visit(browser, url)
    found = []
    for value in range(2, 2 + VIEWS):
        visit.fill("Epochs", str(value))
        found.append(work(visit.page, LEFT_S))
    visit.close()
    return statistics.median(found)


def watching(browser: Browser, url: str) -> Page:
    """A tab that shows a running training."""
    page = browser.new_context().new_page()
    page.goto(url)
    page.get_by_role("tab", name="Runs").click()
    page.locator("#state").get_by_text("Training").wait_for()
    return page


class Tabs:
    """Clients that ask what open tabs ask, as often as these do.

    Not browsers: for twenty of them two cores have no time, and tabs that wait ask less often.

    Args:
        url: of the page.
        job: that is watched.
    """

    def __init__(self, url: str, job: str) -> None:
        config = httpx2.get(f"{url}/config").json()
        parts = {one["id"]: one for one in config["components"]}
        run = next(id for id, one in parts.items() if one["props"].get("elem_id") == "run")
        watch = [one for one in config["dependencies"] if run in one["inputs"] and not one["queue"]]
        (self._tick,) = (one for one in watch if one["targets"][0][1] == "tick")
        ((more, _),) = ((id, parts[id]) for id in self._tick["outputs"]
                        if parts[id]["type"] == "textbox")  # fmt: skip
        (self._more,) = (one for one in watch if [more, "change"] in one["targets"])
        self._every = float(parts[self._tick["targets"][0][0]]["props"]["value"])
        self._at = self._tick["outputs"].index(more)
        self._values = {
            id: job if id == run else None if one["type"] == "state" else one["props"].get("value")
            for id, one in parts.items()
        }
        self._url = f"{url}/gradio_api/run/predict"
        self._ended = threading.Event()
        self.looks = 0

    def watch(self, name: str, later: float) -> None:
        """Be a tab until `close`."""
        time.sleep(later)
        with httpx2.Client(timeout=60) as client:
            while not self._ended.is_set():
                begun = time.monotonic()
                answer = self._ask(client, self._tick, name)
                self.looks += 1
                if isinstance(answer[self._at], str):
                    self._ask(client, self._more, name)
                time.sleep(max(0.0, begun + self._every - time.monotonic()))

    def close(self) -> None:
        """Close all tabs."""
        self._ended.set()

    def _ask(self, client: httpx2.Client, handler: dict[str, Any], name: str) -> list[Any]:
        data = [self._values[id] for id in handler["inputs"]]
        asked = {"fn_index": handler["id"], "data": data, "session_hash": name}
        answer = client.post(self._url, json=asked)
        answer.raise_for_status()
        return list(answer.json()["data"])


def cores_used(process: psutil.Process, seconds: float) -> float:
    """Cores that a process uses, on average."""
    before = process.cpu_times()
    time.sleep(seconds)
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
    seen, opened = zip(*(first_view(browser, running.url) for _ in range(VIEWS)), strict=True)
    left = input_left(browser, running.url)
    job = Client(running.url, verbose=False).predict(LONG, api_name="/submit")
    until(lambda: running.state() == "running")
    server = psutil.Process(running.process.pid)
    page = watching(browser, running.url)
    time.sleep(5)
    age = ages(page, running.runs()[0] / "events.jsonl", LOOKED_S)
    watched = work(page, LOOKED_S)
    page.context.close()
    clients = Tabs(running.url, job)
    with ThreadPoolExecutor(tabs) as pool:
        waits = [pool.submit(clients.watch, f"tab{n}", n / tabs) for n in range(tabs)]
        time.sleep(10)
        looks = clients.looks
        cores = cores_used(server, WATCHED_S)
        looks = clients.looks - looks
        clients.close()
        for one in waits:
            one.result()
    assert running.state() == "running", job
    return {
        "first_view_s": {"first": seen[0], "median": statistics.median(seen)},
        "form_s": {"first": opened[0], "median": statistics.median(opened)},
        "input_left_work_s": left,
        "watching_browser_cores": watched / LOOKED_S,
        "server_cores": cores,
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
