"""How long a look at a running training takes: what the page asks for every second.

python -m tests.bench.views
Aims: a run of a day (170,000 events) is taken up in under 2 seconds; after that every look at
it, with new events or without, takes a few milliseconds.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from memshield.runs.progress import Follower, fingerprint
from memshield.runs.reports import read_rounds
from memshield.ui.runs.charts import charts_view, figures_view
from memshield.ui.runs.pictures import samples_view
from memshield.ui.runs.progress import progress_view
from tests.bench.common import arguments, report
from tests.ui.made_runs import audit_round, made_run, save_grid, step_event, write_events

EVENTS, ROUNDS, SHARDS, REPEATS = 170_000, 20, 8, 50


def milliseconds(call: Callable[[], object]) -> float:
    """Median of a call that was made before."""
    call()
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return 1000 * statistics.median(times)


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__ or "")
    with tempfile.TemporaryDirectory() as folder:
        run = made_run(Path(folder) / "run", EVENTS, ROUNDS, SHARDS)
        for number in range(1, ROUNDS):
            audit_round(run, number, 0.01 * number, 1 / number)
            save_grid(run, number)
        follower = Follower(run)
        begun = time.perf_counter()
        progress = follower.read()
        first = time.perf_counter() - begun
        rounds = read_rounds(run)

        def grown() -> None:
            write_events(run, [step_event(EVENTS + 1)], "a")
            follower.read()

        report(
            "views",
            options,
            {"events": EVENTS, "rounds": ROUNDS, "shards": SHARDS, "repeats": REPEATS},
            first_read_s=first,
            unchanged_ms=milliseconds(follower.read),
            one_event_more_ms=milliseconds(grown),
            fingerprint_ms=milliseconds(lambda: fingerprint(run)),
            rounds_ms=milliseconds(lambda: read_rounds(run)),
            progress_ms=milliseconds(lambda: progress_view(progress, "running")),
            charts_ms=milliseconds(lambda: charts_view(progress, rounds, 0.05)),
            figures_ms=milliseconds(lambda: figures_view(progress, rounds)),
            samples_ms=milliseconds(lambda: samples_view(run)),
        )


if __name__ == "__main__":
    main()
