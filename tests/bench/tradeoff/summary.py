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
from matplotlib.ticker import LogLocator
from scipy.stats import t as student

from memshield.audit.plots import COLOURS, STYLE, svg_of
from tests.bench.common import RESULTS
from tests.bench.tradeoff.cell import folders_of
from tests.bench.tradeoff.methods import METHODS, TRIED_ON
from tests.bench.tradeoff.regimes import REGIMES

BUDGET, LATER = 0.02, 0.1
"""Excess of given-back pictures within which quality is compared; and within which plain training
is looked for that is better still, to ask what else gives back at its quality."""
SPACES = ("pixels", "classifier")
PLAIN_METHODS = ("plain", "plain-longer", "plain-decayed", "plain-ema-99", "plain-ema-998")
"""Of these the best is the plain training that the others have to beat."""
SUMMARY = RESULTS / "tradeoff" / "summary.json"

Rounds = list[dict[str, Any]]
Cells = dict[str, dict[int, Rounds]]
"""Rounds by method and seed; all of one classifier and one base, so that they can be compared."""


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


def read_cells(regime: str) -> list[Cells]:
    """The finished cells of a regime, in the order of the methods, by classifier and base."""
    return [found for folder in folders_of(regime) if (found := _cells_in(folder))]


def _cells_in(folder: Path) -> Cells:
    found: Cells = {}
    for method in METHODS:
        for path in sorted(folder.glob(f"{method}_seed_*.json")):
            cell = json.loads(path.read_text())
            found.setdefault(method, {})[cell["config"]["seed"]] = cell["rounds"]
    return found


def merged(series: Sequence[Cells]) -> dict[str, dict[int, Cells]]:
    """The cells that each method and seed is taken from: the first that have it."""
    found: dict[str, dict[int, Cells]] = {}
    for method in METHODS:
        for cells in series:
            for seed in cells.get(method, {}):
                found.setdefault(method, {}).setdefault(seed, cells)
    return {method: dict(sorted(seeds.items())) for method, seeds in found.items()}


def summary_of(series: Sequence[Cells]) -> dict[str, Any]:
    """Figures of a regime by method and space, over seeds.

    Everything is held against the strongest plain training of the same seed that was scored by the
    same classifier, and of the same base: its best audit within the budget. `ratio` is the
    geometric mean of the KIDs' quotients; its interval is that of the logarithms. `excess` is what
    a method gives back when it is as good as the best that plain training reaches within 10 %,
    beside what plain training gives back there; None where it never is as good.
    """
    methods: dict[str, Any] = {}
    for space in SPACES:
        for method, seeds in merged(series).items():
            logarithms, values, samples, beside, ends = [], [], [], [], []
            for seed, cells in seeds.items():
                rounds = cells[method][seed]
                ends.append(excess_of(rounds[-1]))
                best = best_within(rounds, space)
                if best is not None:
                    values.append(best.quality)
                    samples.append(best.samples)
                plain = strongest_plain(cells, seed, space, BUDGET)
                if best is not None and plain is not None:
                    logarithms.append(math.log(best.quality / plain.quality))
                later = strongest_plain(cells, seed, space, LATER)
                if later is not None:
                    own = least_excess(rounds, space, later.quality)
                    beside.append({"plain": later.excess, "own": own})
            spread = interval(logarithms)
            methods.setdefault(method, {})[space] = {
                "seeds": list(seeds),
                "KID": values,
                "samples": samples,
                "ratio": math.exp(float(np.mean(logarithms))) if logarithms else None,
                "ratios": [math.exp(one) for one in logarithms],
                "ratio_interval": [math.exp(end) for end in spread] if spread else None,
                "excess": beside,
                "end_excess": ends,
            }
    return methods


def strongest_plain(cells: Cells, seed: int, space: str, budget: float) -> Best | None:
    """The best audit within a budget among all plain trainings of a seed."""
    found = [
        best_within(cells[method][seed], space, budget)
        for method in PLAIN_METHODS
        if seed in cells.get(method, {})
    ]
    return min((best for best in found if best is not None), default=None)


def table(regime: str, methods: dict[str, Any]) -> list[str]:
    """A regime's figures as lines of a table."""
    lines = [
        f"| {REGIMES[regime].shown} | seeds | KID over plain, classifier | pixels | samples | "
        "excess at plain's quality | at the end |",
        "|---" * 7 + "|",
    ]
    for method, spaces in methods.items():
        classifier, pixels = spaces["classifier"], spaces["pixels"]
        seeds = ", ".join(map(str, classifier["seeds"]))
        ends = classifier["end_excess"]
        samples = classifier["samples"]
        cells = [
            METHODS[method].shown + (" (tried)" if METHODS[method].candidate else ""),
            seeds,
            _ratio(classifier),
            _ratio(pixels),
            f"{np.mean(samples):,.0f}" if samples else "",
            _beside(classifier["excess"]),
            f"{100 * float(np.mean(ends)):.0f} %",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


HEADLINE = {
    "draws by level": ("draws-low-agc", "draws-longer", "draws"),  # the first is of captions
    "levels stopped": ("stops",),
    "IET-AGC": ("iet-agc-outer", "iet-agc"),
}
"""Columns of the short table, and the methods that they may be, the first that a regime has."""


def headline(regimes: dict[str, Any]) -> list[str]:
    """The short table of all regimes: KIDs over plain training's, by the classifier and pixels."""
    lines = [
        "| KID over the strongest plain training's (classifier; pixels) | "
        + " | ".join(HEADLINE)
        + " |",
        "|---" * (len(HEADLINE) + 1) + "|",
    ]
    for regime, methods in regimes.items():
        cells = [REGIMES[regime].shown]
        for names in HEADLINE.values():
            found = next((methods[name] for name in names if name in methods), None)
            cells.append(
                "" if found is None else f"{_ratio(found['classifier'])}; {_ratio(found['pixels'])}"
            )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _ratio(found: dict[str, Any]) -> str:
    if found["ratio"] is None:
        return "nothing to compare with" if found["KID"] else "none within"
    spread = found["ratio_interval"]
    if len(found["ratios"]) == 2:  # an interval of two says less than they do
        return " and ".join(f"{one:.2f}" for one in found["ratios"])
    # What is the strongest plain training itself is 1 every time.
    differ = spread is not None and max(found["ratios"]) - min(found["ratios"]) > 0.02
    return f"{found['ratio']:.2f}" + (f" ({spread[0]:.2f} to {spread[1]:.2f})" if differ else "")


def _beside(found: Sequence[dict[str, float | None]]) -> str:
    """What is given back at plain training's quality, and what plain training gives back."""
    reached = [(one["own"], one["plain"]) for one in found if one["own"] is not None]
    if not reached:
        return "never as good"
    own, plain = np.asarray(reached, dtype=np.float64).mean(axis=0)
    missed = len(found) - len(reached)
    return f"{100 * own:.1f} %, plain {100 * plain:.1f} %" + (
        f" ({missed} never)" if missed else ""
    )


SAME_BUT_SHORTER = {"plain": "plain-longer", "draws": "draws-longer"}
"""Methods whose audits are also the first ones of another."""


def plot(series: Sequence[Cells], space: str = "classifier") -> str:
    """Excess against KID, a line a method and a panel a seed, whose pictures are its own; SVG."""
    found = merged(series)
    drawn = [m for m in found if not METHODS[m].candidate and SAME_BUT_SHORTER.get(m) not in found]
    seeds = sorted({seed for method in drawn for seed in found[method]})
    with mpl.rc_context(STYLE):
        columns = min(3, len(seeds))
        rows = math.ceil(len(seeds) / columns)
        figure = Figure(figsize=(3.2 * columns, 1 + 3.2 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
        for seed, axes in zip(seeds, panels, strict=True):
            for method in drawn:
                place = list(METHODS).index(method)  # the same colours in every plot
                rounds = found[method][seed][method][seed] if seed in found[method] else []
                axes.plot(
                    [100 * excess_of(row) for row in rounds],
                    [row[space]["KID"] for row in rounds],
                    marker="o",
                    markersize=3,
                    color=COLOURS[place % len(COLOURS)],
                    linestyle=("-", "--", ":")[place // len(COLOURS)],
                    label=METHODS[method].shown,
                )
            axes.axvline(100 * BUDGET, color="#555555", linestyle=":")
            axes.set(title=f"seed {seed}", xscale="symlog", yscale="log")
            ticks = (-1, 0, 1, 2, 5, 10, 20, 50)
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
            axes.yaxis.set_minor_formatter("{x:g}")
            axes.tick_params(which="both", labelsize=8)
        figure.supylabel(f"KID ({space}), lower is better", fontsize=10)
        figure.supxlabel("given back beyond chance, % (larger of two measures)", fontsize=10)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=8
        )
        return svg_of(figure)


def main() -> None:
    """Print the tables; write the summary and plots where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", action="store_true", help="write the summary and the plots")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for regime in REGIMES:
        series = read_cells(regime)
        if not series:
            continue
        found[regime] = summary_of(series)
        print("\n".join(table(regime, found[regime])), end="\n\n")
        if options.save:
            (RESULTS / "tradeoff" / f"{regime}.svg").write_text(plot(series))
    print("\n".join(headline(found)))
    if options.save:
        values = {"tried_on": TRIED_ON, "budget": BUDGET, "regimes": found}
        Path(SUMMARY).write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
