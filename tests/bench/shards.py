"""What more shards cost: time at equal samples, and peak memory of the trained state.

python -m tests.bench.shards [--flow]
Aims: K = 8 over K = 1: time at most 1.05; peak resident memory at most 1.05 for a LoRA, and
1.30 for full training with `shard_optimizer: reset` and no moving average. `--flow` measures
the memory of a LoRA on a flow-matching transformer alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

from memshield.rundir import RunDir
from memshield.train import main as train
from tests.bench.common import ROOT, arguments_parser, report
from tests.trained_runs import flags

COUNTS = (1, 8)


def seconds_of_steps(shards: int) -> float:
    """Seconds of a short run of the demo's model: steps, aggregation, saving; no start-up."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "config": ROOT / "configs/demo.yaml",
            "num_shards": shards,
            "num_rounds": 2,
            "max_train_steps": 800,
            "num_validation_images": 0,
            "output_dir": Path(folder) / "run",
        }
        # In this one process: from process to process the same step varies by a tenth.
        assert train(flags(**settings)) == 0
        events = RunDir(Path(folder) / "run").read_events()
        return float(sum(e["seconds"] for e in events if e["type"] == "round"))


def peak_bytes(kind: str, shards: int) -> int:
    """Peak resident bytes of a training above what the libraries take."""
    said = _child("tests.bench.shards", ["--peak", kind, str(shards)])
    return int(json.loads(said.splitlines()[-1])["peak"])


def _child(module: str, words: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return done.stdout


def measure_peak(kind: str, shards: int) -> None:
    """Train in this process and print its peak: run in a process of its own."""
    from tests.tiny import UNET_2D, image_folder, sd_components, unet_config

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        settings: dict[str, Any] = {
            "num_shards": shards,
            "num_rounds": 2,
            "max_train_steps": 32,
            "train_batch_size": 1,
            "checkpointing_steps": 5,
            "checkpoints_total_limit": 1,
            "held_out_fraction": 0,
            "num_validation_images": 0,
            "output_dir": root / "run",
        }
        if kind == "full":
            # 100 million weights on 8 px pictures: the state outweighs the activations.
            wide = {**UNET_2D, "block_out_channels": [384, 768], "attention_head_dim": 64}
            settings |= {
                "model_config_name_or_path": unet_config(root, **wide),
                "dataset_name": "sklearn:digits",
                "max_train_samples": 64,
                "shard_optimizer": "reset",
            }
        elif kind == "flow":
            settings |= {
                "pretrained_model_name_or_path": _wide_flux(root / "flux"),
                "train_data_dir": image_folder(root / "pictures", 64),
                "resolution": 16,
                "max_sequence_length": 24,
                "rank": 4,
            }
        else:
            settings |= {
                "pretrained_model_name_or_path": _wide_sd(root / "sd", sd_components()),
                "train_data_dir": image_folder(root / "pictures", 64),
                "rank": 4,
            }
        import accelerate  # noqa: F401
        import datasets  # noqa: F401
        from diffusers import StableDiffusionPipeline  # noqa: F401

        before = psutil.Process().memory_info().rss
        assert train(flags(**settings)) == 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"peak": peak - before}))


def _wide_flux(folder: Path) -> Path:
    """A tiny FLUX.1 with a transformer of 36 million weights, built by a child."""
    code = (
        "import sys; from pathlib import Path; from tests.tiny_flow import flux_pipeline; "
        "flux_pipeline(Path(sys.argv[1]), num_layers=2, num_single_layers=4, "
        "attention_head_dim=64, num_attention_heads=8, axes_dims_rope=(16, 24, 24))"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True)
    return folder


def _wide_sd(folder: Path, parts: dict[str, Any]) -> Path:
    """A tiny Stable Diffusion with a UNet of 30 million weights, built by a child."""
    code = (
        "import sys; from pathlib import Path; from diffusers import *; "
        "from tests.tiny import sd_components; parts = sd_components(); "
        "parts['unet'] = UNet2DConditionModel.from_config({**parts['unet'].config, "
        "'block_out_channels': (256, 512), 'norm_num_groups': 32, 'attention_head_dim': 8}); "
        "StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, "
        "requires_safety_checker=False).save_pretrained(Path(sys.argv[1]))"
    )
    del parts
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True)
    return folder


def report_flow(options: argparse.Namespace) -> None:
    """Measure and report the memory of a LoRA on a flow-matching transformer."""
    peaks = {count: peak_bytes("flow", count) for count in COUNTS}
    report(
        f"shards_flow_{options.device}",
        options,
        {"model": "FLUX.1 of 36 million weights", "shards": list(COUNTS)},
        lora_peak_bytes={f"shards_{count}": peak for count, peak in peaks.items()},
        lora_peak_ratio=peaks[8] / peaks[1],
    )


def main() -> None:
    """Measure and report."""
    if sys.argv[1:2] == ["--peak"]:
        measure_peak(sys.argv[2], int(sys.argv[3]))
        return
    parser = arguments_parser(__doc__ or "")
    parser.add_argument("--flow", action="store_true")
    options = parser.parse_args()
    if options.flow:
        report_flow(options)
        return
    # Peaks first, in processes of their own, while this one is still small.
    peaks = {
        kind: {count: peak_bytes(kind, count) for count in COUNTS} for kind in ("full", "lora")
    }
    times: dict[int, list[float]] = {count: [] for count in COUNTS}
    for _ in range(5):
        for count in COUNTS:
            times[count].append(seconds_of_steps(count))
    medians = {count: statistics.median(values) for count, values in times.items()}
    report(
        f"shards_{options.device}",
        options,
        {"time": "configs/demo.yaml, 800 steps in 2 rounds", "shards": list(COUNTS)},
        seconds={f"shards_{count}": value for count, value in medians.items()},
        time_ratio=medians[8] / medians[1],
        full_reset_peak_bytes={f"shards_{c}": v for c, v in peaks["full"].items()},
        full_reset_peak_ratio=peaks["full"][8] / peaks["full"][1],
        lora_peak_bytes={f"shards_{c}": v for c, v in peaks["lora"].items()},
        lora_peak_ratio=peaks["lora"][8] / peaks["lora"][1],
    )


if __name__ == "__main__":
    main()
