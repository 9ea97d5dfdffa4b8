"""What an outer optimizer gives back of the speed that averaging costs.

python -m tests.bench.outer
The demo's model on digits with the same steps and seeds: plain training, the plain mean of four
proxies, and an outer optimizer on their mean difference. The figure is the denoising loss on
held-out pictures, with the same noise for all; moving averages of the weights throughout.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMPipeline

from memshield.config.file import make_config, read_yaml
from memshield.data.batches import PictureReader
from memshield.data.examples import Examples
from memshield.data.source import SourceSettings, open_source
from memshield.rundir import RunDir
from memshield.train import main as train
from tests.bench.common import ROOT, arguments, report
from tests.trained_runs import flags

STEPS, ROUNDS, SHOWN = 3200, 32, 8
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"num_shards": 1},
    "mean": {"num_shards": 4},
    "outer_0.7_0.9": {"num_shards": 4, "outer_learning_rate": 0.7, "outer_momentum": 0.9},
    "outer_1.0_0.6": {"num_shards": 4, "outer_learning_rate": 1.0, "outer_momentum": 0.6},
    "outer_1.0_0.8": {"num_shards": 4, "outer_learning_rate": 1.0, "outer_momentum": 0.8},
    "outer_2.0_0.0": {"num_shards": 4, "outer_learning_rate": 2.0, "outer_momentum": 0.0},
}


def settings_of(folder: Path, variant: str) -> dict[str, Any]:
    """A run of one variant."""
    return {
        "config": ROOT / "configs/demo.yaml",
        # The sampling mask would mix a second cause in.
        "skip_threshold": 0,
        "max_train_steps": STEPS,
        "num_rounds": ROUNDS,
        "use_ema": True,
        "ema_decay": 0.995,
        "num_validation_images": 0,
        "checkpointing_steps": 10**6,
        "checkpoints_total_limit": 1,
        "output_dir": folder / variant,
        **VARIANTS[variant],
    }


def held_out(run: RunDir) -> torch.Tensor:
    """The held-out pictures of a run, in [-1, 1]."""
    config = make_config(read_yaml(run.config))
    examples = Examples.read(run.examples)
    reader = PictureReader(
        open_source(SourceSettings.of(config)), examples, 1, int(config.resolution or 0), False
    )
    pixels = np.stack([reader.read(index)[0] for index in examples.held_out().tolist()])
    return torch.from_numpy(pixels).float().div_(127.5).sub_(1.0)


@torch.no_grad()
def loss(folder: Path, clean: torch.Tensor) -> float:
    """Mean squared error of the predicted noise, over eight draws for every picture."""
    pipeline = DDPMPipeline.from_pretrained(folder)
    generator = torch.Generator().manual_seed(1)
    errors = []
    for _ in range(8):
        noise = torch.randn(clean.shape, generator=generator)
        steps = torch.randint(0, 1000, (len(clean),), generator=generator)
        noisy = pipeline.scheduler.add_noise(clean, noise, steps)
        errors.append((pipeline.unet(noisy, steps).sample - noise).square().mean())
    return float(torch.stack(errors).mean())


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__ or "")
    losses: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for variant in VARIANTS:
            assert train(flags(**settings_of(Path(folder), variant))) == 0
            run = RunDir(Path(folder) / variant)
            clean = held_out(run)
            shown = range(ROUNDS // SHOWN, ROUNDS + 1, ROUNDS // SHOWN)
            losses[variant] = {
                f"step_{STEPS * number // ROUNDS}": loss(run.rounds / str(number), clean)
                for number in shown
            }
    last = f"step_{STEPS}"
    gap = losses["mean"][last] - losses["plain"][last]
    report(
        f"outer_{options.device}",
        options,
        {"model": "configs/demo.yaml", "steps": STEPS, "rounds": ROUNDS, "variants": VARIANTS},
        held_out_loss=losses,
        share_of_gap_closed={
            name: (losses["mean"][last] - losses[name][last]) / gap
            for name in VARIANTS
            if name.startswith("outer")
        },
    )


if __name__ == "__main__":
    main()
