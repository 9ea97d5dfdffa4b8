"""Run the cells that are missing, several at a time.

python -m tests.bench.tradeoff [--regimes ..] [--methods ..] [--seeds 0 1 2] [--jobs 2]
The same pictures and samples for all methods of a regime and seed; moving averages throughout;
every audit generates 1,000 pictures with the same seeds. Constants are chosen on seed 0
(`methods.TRIED_ON`) and judged on the others. A cell that has a result is never run again, and
one that was cut off goes on from its last round: interrupt it at will. Then
`python -m tests.bench.tradeoff.summary` says what the results say.

The folder --data holds fashion-mnist-8k.parquet and emoji-64.parquet.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.common import ROOT
from tests.bench.tradeoff.cell import result_of
from tests.bench.tradeoff.methods import METHODS, TRIED_ON
from tests.bench.tradeoff.regimes import REGIMES


def main() -> None:
    """Run what is missing, regime by regime and seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regimes", nargs="+", choices=REGIMES, default=list(REGIMES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="at a time, one thread each")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "memshield-tradeoff"
    )
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    cells = [
        (regime, method, seed)
        for seed, regime, method in itertools.product(
            options.seeds, options.regimes, options.methods
        )
        if (seed == TRIED_ON or not METHODS[method].candidate)
        and method not in REGIMES[regime].without
        and result_of(regime, method, seed) is None
    ]

    def run(cell: tuple[str, str, int]) -> None:
        regime, method, seed = cell
        begun = time.monotonic()
        log = options.work / f"{regime}-{method}-{seed}.log"
        with log.open("w") as file:
            code = subprocess.run(
                [
                    *(sys.executable, "-m", "tests.bench.tradeoff.cell"),
                    *(regime, method, str(seed)),
                    *("--data", str(options.data), "--work", str(options.work)),
                ],
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        took = f"{time.monotonic() - begun:.0f} s"
        said = f"done in {took}" if code == 0 else f"FAILED with {code}, see {log}"
        print(f"{regime} {method} seed {seed}: {said}", flush=True)

    # What the cells of a regime share (classifier, base) is made by the first of them.
    fresh = [name for name in options.regimes if not (options.work / name).is_dir()]
    firsts = [own[0] for name in fresh if (own := [cell for cell in cells if cell[0] == name])]
    with ThreadPoolExecutor(options.jobs) as workers:
        list(workers.map(run, firsts))
        list(workers.map(run, [cell for cell in cells if cell not in firsts]))


if __name__ == "__main__":
    main()
