"""What the finished cells say together: a table, plots, and whether plain training is beaten.

python -m tests.bench.tradeoff.summary [--save]
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import t as student

from memshield.audit.plots import COLOURS, STYLE, svg_of
from tests.bench.common import RESULTS
from tests.bench.tradeoff.methods import METHODS, TRIED_ON
from tests.bench.tradeoff.regimes import REGIMES

BUDGET = 0.02
"""Excess of given-back pictures within which quality is compared."""
SPACES = ("pixels", "classifier")
STRONGEST = ("plain", "plain-longer", "plain-decayed", "plain-ema-99", "plain-ema-998")
"""Of these the best is the plain training that the others have to beat."""
SUMMARY = RESULTS / "tradeoff" / "summary.json"

Rounds = list[dict[str, Any]]
Cells = dict[str, dict[int, Rounds]]
"""Rounds by method and seed."""


class Best(NamedTuple):
    """The best audit of a training within the budget.

    Attributes:
        quality: KID.
        samples: seen by then.
        excess: given back beyond chance.
    """

    quality: float
    samples: int
    excess: float


def excess_of(row: dict[str, Any]) -> float:
    """The larger of the excesses of an audit: that of the distance ratio, and of d1 / d2."""
    return max(float(row["excess"]), float(row["excess_second_ratio"]))


def best_within(rounds: Rounds, space: str, budget: float = BUDGET) -> Best | None:
    """The audit with the lowest KID among those within the budget."""
    within = [row for row in rounds if excess_of(row) <= budget]
    found = min(within, key=lambda row: row[space]["KID"], default=None)
    if found is None:
        return None
    return Best(found[space]["KID"], found["samples"], excess_of(found))


def least_excess(rounds: Rounds, space: str, quality: float) -> float | None:
    """The lowest excess at which a training is as good as this KID, or better."""
    return min((excess_of(row) for row in rounds if row[space]["KID"] <= quality), default=None)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of a mean by Student's t; None for a single value."""
    if len(values) < 2:
        return None
    half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1))
    half /= math.sqrt(len(values))
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def read_cells(regime: str) -> Cells:
    """The finished cells of a regime, in the order of the methods."""
    found: Cells = {}
    for method in METHODS:
        for path in sorted((RESULTS / "tradeoff" / regime).glob(f"{method}_seed_*.json")):
            cell = json.loads(path.read_text())
            found.setdefault(method, {})[cell["config"]["seed"]] = cell["rounds"]
    return found


def summary_of(cells: Cells) -> dict[str, Any]:
    """Figures of a regime by method and space, over seeds.

    `ratio` is the best KID within the budget over that of the strongest plain training of the same
    seed; its interval is that of the logarithm's mean. `excess_at_plain` is the lowest excess at
    which a seed is as good as the best plain training of that seed ever is within 10 %.
    """
    methods: dict[str, Any] = {}
    for space in SPACES:
        plain = strongest_plain(cells, space)
        for method, seeds in cells.items():
            bests = {s: best_within(rounds, space) for s, rounds in seeds.items()}
            found = {s: best for s, best in bests.items() if best is not None}
            values = [best.quality for best in found.values()]
            ratios, halves = [], []
            for seed, best in found.items():
                of_plain = cells.get(plain, {}).get(seed, [])
                theirs = best_within(of_plain, space)
                if theirs is not None:
                    ratios.append(math.log(best.quality / theirs.quality))
                reachable = best_within(of_plain, space, 0.1)
                if reachable is not None:
                    halves.append(
                        {
                            "plain": reachable.excess,
                            "own": least_excess(seeds[seed], space, reachable.quality),
                        }
                    )
            spread = interval(ratios)
            ends = [rounds[-1] for rounds in seeds.values()]
            methods.setdefault(method, {})[space] = {
                "seeds": list(seeds),
                "none_within": [s for s, best in bests.items() if best is None],
                "best_KID": values,
                "mean": float(np.mean(values)) if values else None,
                "interval": interval(values),
                "samples": [best.samples for best in found.values()],
                "excess": [best.excess for best in found.values()],
                "ratio": math.exp(np.mean(ratios)) if ratios else None,
                "ratio_interval": [math.exp(end) for end in spread] if spread else None,
                "excess_at_plain": halves,
                "end_excess": float(np.mean([excess_of(row) for row in ends])),
                "end_KID": float(np.mean([row[space]["KID"] for row in ends])),
                "strongest_plain": method == plain,
            }
    return methods


def strongest_plain(cells: Cells, space: str) -> str:
    """The plain training with the lowest mean of the best KID within the budget."""

    def mean(method: str) -> float:
        bests = [best_within(rounds, space) for rounds in cells[method].values()]
        values = [best.quality for best in bests if best is not None]
        return float(np.mean(values)) if values else math.inf

    # A candidate was tried on one seed only: it would be held against other pictures.
    known = [m for m in STRONGEST if m in cells and not METHODS[m].candidate]
    return min(known, key=mean, default="")


def table(regime: str, methods: dict[str, Any]) -> list[str]:
    """A regime's figures as lines of a table; candidates are left out."""
    lines = [
        f"| {REGIMES[regime].shown} | KID, classifier | over plain | KID, pixels | over plain "
        "| samples | at the end: excess |",
        "|---" * 7 + "|",
    ]
    for method, spaces in methods.items():
        if METHODS[method].candidate:
            continue
        cells = [METHODS[method].shown]
        for space in reversed(SPACES):
            found = spaces[space]
            missing = len(found["none_within"])
            text = "none" if found["mean"] is None else f"{found['mean']:.3f}"
            if missing and found["mean"] is not None:
                text += f" ({missing} of {len(found['seeds'])} never)"
            cells += [text, _ratio(found)]
        samples = spaces["classifier"]["samples"]
        cells.append(f"{np.mean(samples):,.0f}" if samples else "")
        cells.append(f"{100 * spaces['classifier']['end_excess']:.0f} %")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _ratio(found: dict[str, Any]) -> str:
    if found["strongest_plain"]:
        return "1"
    if found["ratio"] is None:
        return ""
    spread = found["ratio_interval"]
    return f"{found['ratio']:.2f}" + (f" ({spread[0]:.2f} to {spread[1]:.2f})" if spread else "")


def plot(regime: str, cells: Cells, space: str = "classifier") -> str:
    """Excess against KID, a line a method, means over seeds; as SVG."""
    drawn = [m for m in cells if not METHODS[m].candidate]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.subplots()
        for place, method in enumerate(drawn):
            rounds = list(cells[method].values())
            length = min(map(len, rounds))
            excess = [
                float(np.mean([100 * excess_of(r[i]) for r in rounds])) for i in range(length)
            ]
            quality = [float(np.mean([r[i][space]["KID"] for r in rounds])) for i in range(length)]
            axes.plot(
                np.maximum(excess, -1),
                quality,
                marker="o",
                markersize=3,
                color=COLOURS[place % len(COLOURS)],
                linestyle="-" if place < len(COLOURS) else "--",
                label=METHODS[method].shown,
            )
        axes.axvline(100 * BUDGET, color="#555555", linestyle=":")
        axes.set(
            xlabel="given back beyond chance, % (larger of two measures, mean over seeds)",
            ylabel=f"KID ({space}), lower is better",
            xscale="symlog",
            yscale="log",
        )
        axes.legend(frameon=False, fontsize=7)
        return svg_of(figure)


def main() -> None:
    """Print the tables; write the summary and plots where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", action="store_true", help="write the summary and the plots")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for regime in REGIMES:
        cells = read_cells(regime)
        if not cells:
            continue
        found[regime] = summary_of(cells)
        print("\n".join(table(regime, found[regime])), end="\n\n")
        if options.save:
            (RESULTS / "tradeoff" / f"{regime}.svg").write_text(plot(regime, cells))
    if options.save:
        values = {"tried_on": TRIED_ON, "budget": BUDGET, "regimes": found}
        Path(SUMMARY).write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
