"""How large the report of an audit is, and how fast a browser shows it.

python -m tests.bench.report_page
Aims: 10,000 generated pictures, under 10 MB, shown in under 2 seconds. Needs Chromium.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from memshield.__main__ import main as memshield
from tests.audit.pictures import smooth_fields
from tests.audit.runs import save_pictures
from tests.bench.common import arguments, report

GENERATED, TRAINING, REPEATS = 10_000, 300, 5
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]


def audit(folder: Path) -> Path:
    """An audit of pictures some of which are copies; its report."""
    rng = np.random.default_rng(0)
    training, fresh = smooth_fields(TRAINING, rng, 16), smooth_fields(TRAINING, rng, 16)
    made = np.concatenate([training, smooth_fields(GENERATED - TRAINING, rng, 16)])
    words = {"images": made, "train_data_dir": training, "held_out_data_dir": fresh}
    flags = ["audit", "--output_dir", str(folder / "out")]
    for name, pictures in words.items():
        flags += [f"--{name}", str(save_pictures(pictures, folder / name))]
    assert memshield(flags) == 0
    return folder / "out" / "report.html"


def seconds_to_show(path: Path) -> float:
    """Median seconds until everything on the page is loaded, each time in a new page."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        times = []
        for _ in range(REPEATS):
            page = browser.new_page()
            begun = time.perf_counter()
            page.goto(path.as_uri(), wait_until="load")
            page.locator(".verdict").wait_for(state="visible")
            times.append(time.perf_counter() - begun)
            page.close()
        browser.close()
    return statistics.median(times)


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__ or "")
    with tempfile.TemporaryDirectory() as folder:
        path = audit(Path(folder))
        report(
            "report_page",
            options,
            {"generated": GENERATED, "training": TRAINING, "repeats": REPEATS},
            seconds_to_show=seconds_to_show(path),
            bytes=path.stat().st_size,
            private_bytes=path.with_name("private.html").stat().st_size,
        )


if __name__ == "__main__":
    main()
