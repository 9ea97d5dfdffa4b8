"""A LoRA's steps on cached latents and text over steps that encode every batch.

python -m tests.bench.cached
Aim: at least 1.3 times faster on a Stable Diffusion of true proportions (tests/bench/scaled.py).

Steps only, with the reading of their batches; the encoding pass is timed beside them. It has
paid off after the epochs whose saved time adds up to it.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memshield.data.batches import ShardBatches
from memshield.families.latent import LatentDiffusion
from memshield.training.replica import Replica, Shard
from memshield.training.step import Stepper
from tests.bench.common import arguments, interleaved_medians, report
from tests.bench.scaled import SIDE, proportions, scaled_sd
from tests.bench.setting import Setting, set_up
from tests.tiny import image_folder

PICTURES, BATCH, STEPS = 64, 4, 40


def stepping(setting: Setting) -> Callable[[], object]:
    """Takes the next step of shard 0 each time it is called, its batch read first."""
    setup = setting.setup
    config, family = setup.config, setup.family
    batches = ShardBatches(config, setup.examples, 0, setup.reader)
    shard = Shard.of(setup, 0)
    replica = Replica(family.trainable(), config)
    stepper = Stepper(config, family, replica, setup.encoder)
    family.network.train()
    count = itertools.count()

    def step() -> object:
        number = next(count)
        return stepper.step(shard, number, batches[number], 1e-4)

    return step


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__ or "")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MEMSHIELD_CACHE"] = str(folder / "cache")
        settings: dict[str, Any] = {
            "pretrained_model_name_or_path": scaled_sd(folder / "sd"),
            "train_data_dir": image_folder(folder / "pictures", PICTURES, SIDE),
            "train_batch_size": BATCH,
            "num_rounds": 1,
            "held_out_fraction": 0,
        }
        every_step = set_up(folder / "every_step", options.device, cache_latents=False, **settings)
        assert isinstance(every_step.setup.family, LatentDiffusion)
        parts = proportions(every_step.setup.family, BATCH, options.device)
        cached = set_up(folder / "cached", options.device, cache_latents=True, **settings)
        medians = interleaved_medians(
            {"every_step": stepping(every_step), "cached": stepping(cached)}, STEPS, options.device
        )
    saved = (medians["every_step"] - medians["cached"]) * PICTURES / BATCH
    report(
        f"cached_{options.device}",
        options,
        {"model": "tests/bench/scaled.py", "pictures": PICTURES, "side": SIDE, "batch": BATCH},
        seconds_of_a_step=medians,
        speed_up=medians["every_step"] / medians["cached"],
        encoding_seconds=cached.encoding,
        paid_off_after_epochs=cached.encoding / saved,
        proportions=parts,
    )


if __name__ == "__main__":
    main()
