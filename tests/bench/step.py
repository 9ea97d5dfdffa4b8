"""Steps with each part of the method over a plain step of the demo's model.

python -m tests.bench.step
Aim: anti-gradient control, biased draws and a held-out bank at most 1.02 at batch 32 and up. A
stopped noise level costs its teacher's forward pass: a third of a step where all are stopped.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memshield.config.file import read_yaml
from memshield.training.progress import Listener
from tests.bench.common import ROOT, arguments, interleaved_medians, report
from tests.bench.setting import set_up

BATCHES = (32, 64, 128)
PLAIN: dict[str, Any] = {"num_shards": 1, "num_rounds": 1, "skip_threshold": 0.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "anti_gradient": {"skip_threshold": 0.5},
    "biased_draws": {"timestep_bias_share": 0.1},
    "held_out_bank": {"skip_threshold": 0.5, "loss_bank_reference": "held_out"},
    "half_of_the_levels_stopped": {"stop_levels": True},
    "all_levels_stopped": {"stop_levels": True},
    "augmentation": {"augment_probability": 0.12},
}


def step_of(folder: Path, name: str, batch: int, device: str) -> Callable[[], object]:
    """Takes one step after another of a training."""
    values = read_yaml(ROOT / "configs/demo.yaml")
    values.pop("output_dir")
    model = str(ROOT / values.pop("model_config_name_or_path"))
    values |= {"train_batch_size": batch, **PLAIN, **VARIANTS[name]}
    setting = set_up(folder / name, device, model_config_name_or_path=model, **values)
    trainer = setting.trainer(Listener())
    watch = trainer.watch
    if watch is not None:
        watch.check(0, together=False)
        if name != "held_out_bank":
            bands = setting.prepared.config.watch_bins
            watch.rehearse(bands // 2 if name.startswith("half") else bands)
    trainer.family.network.train()
    (shard,) = trainer.shards
    numbers = itertools.count()

    def step() -> None:
        number = next(numbers)
        trainer.stepper.step(shard, number, trainer.batches[0][number], 1e-4)

    return step


def ratios(batch: int, device: str) -> dict[str, float]:
    """Median seconds of every kind of step at one batch size, and their ratios to a plain one."""
    with tempfile.TemporaryDirectory() as folder:
        steps = {name: step_of(Path(folder), name, batch, device) for name in VARIANTS}
        medians = interleaved_medians(steps, 60, device, warm_up=20)
    found = {f"{name}_s": seconds for name, seconds in medians.items()}
    others = (name for name in VARIANTS if name != "plain")
    return {**found, **{name: medians[name] / medians["plain"] for name in others}}


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__ or "")
    figures = {f"batch_{batch}": ratios(batch, options.device) for batch in BATCHES}
    config = {"model": "configs/demo.yaml", "variants": VARIANTS}
    report(f"step_{options.device}", options, config, **figures)


if __name__ == "__main__":
    main()
