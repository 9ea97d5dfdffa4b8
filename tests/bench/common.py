"""What every benchmark shares: interleaved timing, and results that say where they come from.

A result is one JSON line. With `--save` it is also written to tests/bench/results/NAME.json.
Ratios are taken within one run, because machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parent.parent.parent
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "diffusers", "accelerate", "peft", "transformers", "datasets", "numpy")


def arguments_parser(description: str) -> argparse.ArgumentParser:
    """A parser of `--device` and `--save`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--save", action="store_true", help="write tests/bench/results/NAME.json")
    return parser


def arguments(description: str) -> argparse.Namespace:
    """`--device` and `--save`, as given."""
    return arguments_parser(description).parse_args()


def interleaved_medians(
    variants: dict[str, Callable[[], object]], repeats: int, device: str = "cpu", warm_up: int = 3
) -> dict[str, float]:
    """Median seconds of each variant, taken in turn so that noise meets all of them."""
    times = interleaved_times(variants, repeats, device, warm_up, time.perf_counter)
    return {name: statistics.median(values) for name, values in times.items()}


def interleaved_times(
    variants: dict[str, Callable[[], object]],
    repeats: int,
    device: str,
    warm_up: int,
    clock: Callable[[], float],
) -> dict[str, list[float]]:
    """Seconds of each variant's calls, taken in turn; `clock` is one of `time`.

    Each turn has an order of its own: who comes after a variant finds the caches as it left them.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    order, names = random.Random(0), list(variants)
    for i in range(warm_up + repeats):
        order.shuffle(names)
        for name in names:
            wait_for(device)
            begun = clock()
            variants[name]()
            wait_for(device)
            if i >= warm_up:
                times[name].append(clock() - begun)
    return times


def median_ratio(over: list[float], under: list[float]) -> dict[str, Any]:
    """Median of the ratios of calls that followed each other, and its interval of 95 %."""
    ratios = sorted(a / b for a, b in zip(over, under, strict=True))
    # Of order statistics: how many ratios lie below their median is binomial.
    half = 0.98 * len(ratios) ** 0.5
    middle = len(ratios) / 2
    low, high = max(0, math.floor(middle - half)), min(len(ratios) - 1, math.ceil(middle + half))
    return {"ratio": statistics.median(ratios), "interval": [ratios[low], ratios[high]]}


def wait_for(device: str) -> None:
    """Until a GPU has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def report(name: str, options: argparse.Namespace, config: dict[str, Any], **figures: Any) -> None:
    """Print a result, and save it where that was asked for."""
    device = platform.processor() or platform.machine()
    if options.device.startswith("cuda"):
        device = torch.cuda.get_device_name()
    result = {
        "name": name,
        "command": "python -m " + " ".join([_module(), *sys.argv[1:]]),
        "commit": _commit(),
        "device": f"{device}, {torch.get_num_threads()} threads of {os.cpu_count()} cores",
        "versions": {package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "config": config,
        **{key: _rounded(value) for key, value in figures.items()},
    }
    print(json.dumps(result))
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def _module() -> str:
    spec = sys.modules["__main__"].__spec__
    return spec.name if spec is not None else sys.argv[0]


def _commit() -> str:
    """Of this tree, with a plus where it was changed; a copy without its history is told it."""
    if told := os.environ.get("BENCH_COMMIT"):
        return told
    changed = _git("status", "-s", "--", "memshield", "configs")
    return _git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
