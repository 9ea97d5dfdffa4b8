"""The bank's update against the authors' loop: one sample after the other, read by `.item()`.

python -m tests.bench.loss_bank
Aim: at least 10 times faster on a CPU, 20 on a GPU, equal to 1e-6.
"""

from __future__ import annotations

import torch

from memshield.training.anti_gradient import LossBank
from tests.bench.common import arguments, interleaved_medians, report

BATCH, SLOTS, DECAY = 128, 1000, 0.8


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__ or "")
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(BATCH, generator=generator).to(options.device)
    slots = torch.randint(0, SLOTS, (BATCH,), generator=generator).to(options.device)
    bank = LossBank(SLOTS, decay=DECAY, device=options.device)
    naive = torch.zeros(SLOTS, device=options.device)

    def loop() -> None:
        for i in range(BATCH):
            slot = int(slots[i].item())
            naive[slot] = DECAY * naive[slot].item() + (1 - DECAY) * losses[i].item()

    medians = interleaved_medians(
        {"loop": loop, "update": lambda: bank.update(losses, slots)}, 200, options.device
    )
    report(
        f"loss_bank_{options.device}",
        options,
        {"batch": BATCH, "slots": SLOTS},
        seconds=medians,
        speed_up=medians["loop"] / medians["update"],
        largest_difference=float((bank.mean - naive).abs().max()),
    )


if __name__ == "__main__":
    main()
