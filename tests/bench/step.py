"""An anti-gradient step over a plain step of the demo's model.

python -m tests.bench.step
Aim: at most 1.02 at batch 32 and up.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch

from memshield.anti_gradient import LossBank
from memshield.config import make_config, read_yaml
from memshield.data.batches import PictureReader, ShardBatches
from memshield.data.cache import LiveEncoder
from memshield.data.prepare import prepare
from memshield.data.source import open_source
from memshield.families import load, read_facts, resolve
from memshield.families.base import Placement
from memshield.replica import Replica, Shard
from memshield.step import Stepper
from tests.bench.common import ROOT, arguments, interleaved_medians, report

BATCHES = (32, 64, 128)


def ratio(batch: int, device: str) -> dict[str, float]:
    """Median seconds of both kinds of step at one batch size, and their ratio."""
    values = read_yaml(ROOT / "configs/demo.yaml")
    values |= {
        "train_batch_size": batch,
        "num_shards": 1,
        "model_config_name_or_path": str(ROOT / values["model_config_name_or_path"]),
        "mixed_precision": "no",
    }
    variants: dict[str, Any] = {}
    for name, threshold in (("plain", 0.0), ("anti_gradient", 0.5)):
        config = make_config({**values, "skip_threshold": threshold})
        facts = read_facts(config)
        config = resolve(config, facts)
        family = load(config, facts, Placement(torch.device(device), torch.float32))
        source = open_source(config)
        examples = prepare(config, source).examples
        reader = PictureReader(source, examples, 1, 8, False)
        batches = ShardBatches(config, examples, 0, reader)
        bank = LossBank(family.num_slots, config.loss_bank_bins, device=device)
        shard = Shard(0, examples.of_shard(0), bank)
        stepper = Stepper(
            config, family, Replica(family.trainable(), config), LiveEncoder(family, None)
        )
        family.network.train()
        count = itertools.count()

        def step(
            stepper: Stepper = stepper,
            shard: Shard = shard,
            batches: ShardBatches = batches,
            count: Any = count,
        ) -> None:
            number = next(count)
            stepper.step(shard, number, batches[number], 1e-4)

        variants[name] = step
    medians = interleaved_medians(variants, 150, device, warm_up=60)
    return {**medians, "ratio": medians["anti_gradient"] / medians["plain"]}


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__ or "")
    figures = {f"batch_{batch}": ratio(batch, options.device) for batch in BATCHES}
    report(f"step_{options.device}", options, {"model": "configs/demo.yaml"}, **figures)


if __name__ == "__main__":
    main()
