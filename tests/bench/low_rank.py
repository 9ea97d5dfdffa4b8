"""The exact low-rank mean of LoRAs against the singular value decomposition of the dense mean.

python -m tests.bench.low_rank
Aim: equal to 1e-5, without forming a full matrix.
"""

from __future__ import annotations

import torch

from memshield.training.ensemble import low_rank_mean
from tests.bench.common import arguments, interleaved_medians, report

SIDE, RANK, SHARDS = 1280, 8, 8


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__ or "")
    generator = torch.Generator().manual_seed(0)
    downs = [torch.randn(RANK, SIDE, generator=generator) / SIDE**0.5 for _ in range(SHARDS)]
    ups = [torch.randn(SIDE, RANK, generator=generator) / SIDE**0.5 for _ in range(SHARDS)]
    weights = [1 / SHARDS] * SHARDS

    def dense() -> torch.Tensor:
        mean = torch.zeros(SIDE, SIDE, dtype=torch.float64)
        for w, b, a in zip(weights, ups, downs, strict=True):
            mean += w * b.double() @ a.double()
        left, values, right = torch.linalg.svd(mean)
        best: torch.Tensor = left[:, :RANK] * values[:RANK] @ right[:RANK]
        return best

    expected = dense()
    down, up, dropped = low_rank_mean(downs, ups, weights)
    medians = interleaved_medians(
        {"dense": dense, "low_rank": lambda: low_rank_mean(downs, ups, weights)}, 3, warm_up=1
    )
    report(
        "low_rank_cpu",
        options,
        {"side": SIDE, "rank": RANK, "shards": SHARDS},
        largest_difference=float((up.double() @ down.double() - expected).abs().max()),
        largest_entry=float(expected.abs().max()),
        energy_dropped=dropped,
        seconds=medians,
        speed_up=medians["dense"] / medians["low_rank"],
    )


if __name__ == "__main__":
    main()
