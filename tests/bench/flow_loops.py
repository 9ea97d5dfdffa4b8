"""A LoRA's step on each flow-matching family over a step of its usual script's loop.

python -m tests.bench.flow_loops [--only flux ..]
Aims: at least as many samples a second as the plain loop, encoding every step and cached; a step
with anti-gradient control at most 1.02 of one without.

The pipelines are those of tests/tiny_flow.py: a step is as short as it can be, so that what is
done beside the transformer weighs most. Without a GPU seconds are those of the processor, which
other processes on the machine take none of.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memshield.families.lora import targets_of
from tests import tiny_flow
from tests.bench.cached import stepping
from tests.bench.common import arguments_parser, interleaved_times, median_ratio, report
from tests.bench.plain_loops import flow_lora
from tests.bench.setting import set_up
from tests.families.flow_scripts import SCRIPTS
from tests.tiny import image_folder, pictures

FAMILIES = ("sd3", "flux", "z_image", "qwen_image", "flux2_klein")
PICTURES, BATCH, SIDE = 64, 4, 16
REPEATS = {"cached": 120, "encoding_every_step": 12}
WARM_UP = {"cached": 2 + PICTURES // BATCH, "encoding_every_step": 3}
"""Steps that are timed, and those before: an epoch, in which the plain loop fills its cache."""
RUNS: dict[str, dict[str, Any]] = {
    "encoding_every_step": {"cache_latents": False},
    "cached": {"cache_latents": True},
    "cached_without_control": {"cache_latents": True, "skip_threshold": 0},
}


def ratios(family: str, folder: Path, device: str) -> dict[str, Any]:
    """Samples a second of our steps and of the plain loop's, and the ratios."""
    os.environ["MEMSHIELD_CACHE"] = str(folder / "cache")
    base = getattr(tiny_flow, f"{family}_pipeline")(folder / "base")
    settings: dict[str, Any] = {
        "pretrained_model_name_or_path": base,
        "train_data_dir": image_folder(folder / "pictures", PICTURES, SIDE),
        "resolution": SIDE,
        "rank": 4,
        "train_batch_size": BATCH,
        "num_shards": 1,
        "num_rounds": 1,
        "held_out_fraction": 0,
    }
    runs = {name: set_up(folder / name, device, **settings, **run) for name, run in RUNS.items()}
    prepared = runs["cached"].prepared
    pixels = torch.from_numpy(np.stack(pictures(PICTURES, SIDE))).permute(0, 3, 1, 2)
    plain = partial(
        flow_lora,
        base, SCRIPTS[f"tiny_{family}"], pixels.float() / 127.5 - 1, prepared.captions() or (),
        BATCH, 1e-4, targets_of(prepared.facts), device=device,
    )  # fmt: skip
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    figures: dict[str, Any] = {"samples_per_second": {}}
    times: dict[str, list[float]] = {}
    for name, repeats in REPEATS.items():
        calls = {run: stepping(runs[run]) for run in RUNS if run.startswith(name)}
        calls["plain_" + name] = partial(next, plain(cached=name == "cached"))
        times |= interleaved_times(calls, repeats, device, WARM_UP[name], clock)
        figures[name] = median_ratio(times["plain_" + name], times[name])
    figures["anti_gradient"] = median_ratio(times["cached"], times["cached_without_control"])
    for name, found in times.items():
        figures["samples_per_second"][name] = BATCH / statistics.median(found)
    return figures


def main() -> None:
    """Measure and report."""
    parser = arguments_parser(__doc__ or "")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=FAMILIES)
    options = parser.parse_args()
    config = {
        "models": "tests/tiny_flow.py", "side": SIDE, "batch": BATCH, "pictures": PICTURES,
        "repeats": REPEATS, "clock": "wall" if options.device.startswith("cuda") else "processor",
    }  # fmt: skip
    for family in options.only:
        with tempfile.TemporaryDirectory() as folder:
            figures = ratios(family, Path(folder), options.device)
        report(f"flow_loops_{family}_{options.device}", options, config, **figures)


if __name__ == "__main__":
    main()
