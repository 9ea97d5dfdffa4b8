"""Training with the whole method against the loops of diffusers' example scripts.

python -m tests.bench.diffusers_loops
Aim: at least as many samples a second in every case.

Ours is a run of 4 shards with the default threshold, its data, turns, averaging and saving of
rounds and checkpoints; theirs (tests/bench/plain_loops.py) saves nothing. The same process takes
a step of ours and one of theirs in turn.
"""

from __future__ import annotations

import copy
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memshield.training.progress import Listener
from memshield.training.step import StepResult
from tests.bench.common import ROOT, arguments, report, wait_for
from tests.bench.plain_loops import text_to_image_lora, unconditional
from tests.bench.scaled import SIDE, scaled_sd
from tests.bench.setting import Setting, set_up
from tests.tiny import image_folder

SHARDS, ROUNDS = 4, 3
DIGITS: dict[str, int] = {"batch": 64, "steps": 160}
LORA: dict[str, int] = {"batch": 4, "pictures": 64, "stored_side": 192}
LORA_STEPS = {"cached": 16, "encoding_every_step": 40}
"""Of a round, as those of the digits; more where less is between the two."""
_WARM_UP = 10


class InTurn(Listener):
    """Lets the other loop take a step after each of a run's own, and times both."""

    def __init__(self, theirs: Iterator[float], device: str) -> None:
        super().__init__()
        self._theirs = theirs
        self._device = device
        self._shard = 0
        self.own: list[float] = []
        self.other: list[float] = []
        self.starts: list[float] = []
        self.ends: list[float] = []
        self._begun = time.perf_counter()

    def step(self, step: int, round: int, shard: int, result: StepResult) -> None:
        """Time this step, and one of the other loop."""
        super().step(step, round, shard, result)
        ended = self._now()
        self.own.append(ended - self._begun)
        if shard != self._shard:
            self._shard = shard
            self.starts.append(ended - self._begun)
        next(self._theirs)
        self._begun = self._now()
        self.other.append(self._begun - ended)

    def round_ended(
        self, step: int, round: int, loss: float | None, kept: float | None, **extra: Any
    ) -> None:
        """Time what a round takes beside its steps."""
        self.ends.append(self._now() - self._begun)
        self._begun = self._now()

    def _now(self) -> float:
        wait_for(self._device)
        return time.perf_counter()

    def figures(self, batch: int) -> dict[str, float]:
        """Samples a second of both, and their ratio: with and without what is beside the steps.

        From medians, which a busy machine disturbs less than sums: of a step, of what a turn's
        first step takes beyond that, and of what a round takes when its steps are over.
        """
        ours = statistics.median(self.own[_WARM_UP:])
        theirs = statistics.median(self.other[_WARM_UP:])
        in_a_round = len(self.own) // ROUNDS
        turn = statistics.median(self.starts[1:]) - ours
        end = statistics.median(self.ends)
        whole = ours + (SHARDS * max(0.0, turn) + end) / in_a_round
        return {
            "samples_per_second": batch / whole,
            "samples_per_second_of_diffusers": batch / theirs,
            "ratio": theirs / whole,
            "ratio_of_steps": theirs / ours,
            "seconds_of_a_turns_start": turn,
            "seconds_of_a_rounds_end": end,
        }


def compare(setting: Setting, theirs: Iterator[float], device: str) -> dict[str, float]:
    """Train ours to its end, theirs beside it."""
    timed = InTurn(theirs, device)
    setting.trainer(timed).train(None)
    return timed.figures(setting.prepared.config.train_batch_size)


def digits(folder: Path, device: str) -> dict[str, float]:
    """The demo's model, trained in full on pixels."""
    import datasets

    setting = set_up(
        folder / "digits",
        device,
        model_config_name_or_path=ROOT / "configs/models/digits-unet.json",
        ddpm_beta_schedule="squaredcos_cap_v2",
        dataset_name="sklearn:digits",
        image_column="image",  # opens them with the datasets library, as the other loop does
        num_shards=SHARDS,
        num_rounds=ROUNDS,
        max_train_steps=ROUNDS * DIGITS["steps"],
        train_batch_size=DIGITS["batch"],
        learning_rate=2e-3,
        lr_scheduler="cosine",
        lr_warmup_steps=100,
        checkpointing_steps=500,
    )
    opened: Any = setting.prepared.source.rows
    rows = opened.cast_column("image", datasets.Image())
    family: Any = setting.setup.family
    theirs = unconditional(
        copy.deepcopy(family.network), family.scheduler, rows, DIGITS["batch"], 2e-3, device
    )
    return compare(setting, theirs, device)


def lora(folder: Path, base: Path, pictures: Path, device: str, case: str) -> dict[str, float]:
    """A LoRA on a Stable Diffusion, its encodings cached or made in every step."""
    import datasets

    setting = set_up(
        folder / case,
        device,
        pretrained_model_name_or_path=base,
        train_data_dir=pictures,
        cache_latents=case == "cached",
        held_out_fraction=0,
        num_shards=SHARDS,
        num_rounds=ROUNDS,
        max_train_steps=ROUNDS * LORA_STEPS[case],
        train_batch_size=LORA["batch"],
        lr_scheduler="cosine",
    )
    opened: Any = setting.prepared.source.rows
    rows = opened.cast_column("image", datasets.Image())
    theirs = text_to_image_lora(base, rows, LORA["batch"], 1e-4, SIDE, device)
    return compare(setting, theirs, device)


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__ or "")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MEMSHIELD_CACHE"] = str(folder / "cache")
        figures = {"digits": digits(folder, options.device)}
        base = scaled_sd(folder / "sd")
        pictures = image_folder(folder / "pictures", LORA["pictures"], LORA["stored_side"])
        for case in LORA_STEPS:
            figures[f"lora_{case}"] = lora(folder, base, pictures, options.device, case)
    report(
        f"diffusers_loops_{options.device}",
        options,
        {
            "digits": {"model": "configs/models/digits-unet.json", **DIGITS},
            "lora": {"model": "tests/bench/scaled.py", "side": SIDE, "steps": LORA_STEPS, **LORA},
            "shards": SHARDS,
            "rounds": ROUNDS,
        },
        **figures,
    )


if __name__ == "__main__":
    main()
