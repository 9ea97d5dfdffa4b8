"""Means of proxies against dense twins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from memshield.training.ensemble import LowRankMean, WeightedMean, low_rank_mean, shard_weights
from memshield.training.interruption import StopRequest
from memshield.training.ranks import Ranks
from tests.trained_runs import ROOT, free_port


@pytest.fixture
def alone() -> Ranks:
    return Ranks(StopRequest())


def test_weights_of_shards() -> None:
    assert shard_weights([1, 3], "size") == [0.25, 0.75]
    assert shard_weights([1, 3], "uniform") == [0.5, 0.5]


def test_weighted_mean_equals_the_sum(alone: Ranks) -> None:
    proxies = [{"a": torch.randn(3, 4), "b": torch.randn(2)} for _ in range(5)]
    weights = [0.1, 0.2, 0.3, 0.15, 0.25]
    mean = WeightedMean()
    for proxy, weight in zip(proxies, weights, strict=True):
        mean.add(proxy, weight)
    result = mean.over(alone, weights, proxies[0])
    for name in proxies[0]:
        naive = sum(w * p[name] for w, p in zip(weights, proxies, strict=True))
        assert torch.allclose(result[name], torch.as_tensor(naive), atol=1e-6)


def test_a_proxy_may_be_overwritten_after_it_was_added() -> None:
    tensor = torch.ones(3)
    for mean, name in ((WeightedMean(), "a"), (LowRankMean(), "x.lora_A.w")):
        mean.add({name: tensor}, 1.0)
        before = {key: value.clone() for key, value in mean.state_dict().items()}
        tensor.zero_()
        for key, value in mean.state_dict().items():
            assert torch.equal(value, before[key])
        tensor.fill_(1.0)


_RANK = """
import sys
import torch
from safetensors.torch import save_file
from memshield.training.checkpoint import stream
from memshield.training.ensemble import WeightedMean
from memshield.training.interruption import StopRequest
from memshield.training.ranks import Ranks

ranks, mean = Ranks(StopRequest()), WeightedMean()
ranks.connect()
like = {name: torch.zeros(2, 3) for name in "cab"}
if ranks.is_first:
    mean.load_state_dict(dict(stream(sys.argv[1])))
found = mean.over(ranks, [0.5, 0.5], like)
ranks.close()
save_file(found, f"{sys.argv[1]}-{ranks.rank}")
"""
"""Rank 0 was resumed after its first shard, rank 1 in the middle of its own."""


@pytest.mark.process
def test_a_sum_read_from_a_checkpoint_meets_one_without_a_proxy(tmp_path: Path) -> None:
    file = tmp_path / "sum"
    saved = {name: torch.randn(2, 3) for name in "cab"}
    save_file(saved, file)
    port = str(free_port())
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _RANK, file],
            cwd=ROOT,
            env={
                **os.environ, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true",
            },
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    assert [process.wait(120) for process in processes] == [0, 0]
    for rank in (0, 1):
        found = load_file(f"{file}-{rank}")
        assert all(torch.equal(found[name], saved[name]) for name in saved)


@pytest.mark.parametrize("kind", [WeightedMean, LowRankMean])
def test_a_mean_saved_half_way_goes_on(
    kind: type[WeightedMean] | type[LowRankMean], alone: Ranks
) -> None:
    proxies = [{"x.lora_A.w": torch.randn(2, 6), "x.lora_B.w": torch.randn(5, 2)} for _ in range(3)]
    whole, cut = kind(), kind()
    for proxy in proxies:
        whole.add(proxy, 1 / 3)
    cut.add(proxies[0], 1 / 3)
    other = kind()
    other.load_state_dict({name: t.clone() for name, t in cut.state_dict().items()})
    for proxy in proxies[1:]:
        other.add(proxy, 1 / 3)
    expected = whole.over(alone, [1 / 3] * 3, proxies[0])
    for name, tensor in other.over(alone, [1 / 3] * 3, proxies[0]).items():
        assert torch.equal(expected[name], tensor)


@pytest.mark.parametrize(("rows", "columns", "rank", "count"), [(40, 24, 4, 3), (8, 30, 3, 4)])
def test_low_rank_mean_is_the_best_one(rows: int, columns: int, rank: int, count: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    downs = [torch.randn(rank, columns, generator=generator) for _ in range(count)]
    ups = [torch.randn(rows, rank, generator=generator) for _ in range(count)]
    weights = [0.5, *[0.5 / (count - 1)] * (count - 1)]
    down, up, dropped = low_rank_mean(downs, ups, weights)
    dense = torch.zeros(rows, columns, dtype=torch.float64)
    for w, b, a in zip(weights, ups, downs, strict=True):
        dense += w * b.double() @ a.double()
    left, values, right = torch.linalg.svd(dense, full_matrices=False)
    best = left[:, :rank] * values[:rank] @ right[:rank]
    assert torch.allclose((up @ down).double(), best, atol=1e-5)
    lost = values[rank:].square().sum() / values.square().sum()
    assert dropped == pytest.approx(lost.item(), abs=1e-9)


def test_low_rank_mean_of_equal_products_is_exact_whatever_their_basis() -> None:
    down, up = torch.randn(4, 20), torch.randn(12, 4)
    turn = torch.linalg.qr(torch.randn(4, 4)).Q
    mean_down, mean_up, dropped = low_rank_mean([down, turn.T @ down], [up, up @ turn], [0.5, 0.5])
    assert torch.allclose(mean_up @ mean_down, up @ down, atol=1e-5)
    assert dropped < 1e-10
    # Averaging the factors apart would not have been exact.
    apart = (up + up @ turn) / 2 @ ((down + turn.T @ down) / 2)
    assert not torch.allclose(apart, up @ down, atol=1e-1)


def test_low_rank_mean_leaves_a_fresh_lora_able_to_learn() -> None:
    downs = [torch.randn(4, 20) for _ in range(2)]
    ups = [torch.zeros(12, 4) for _ in range(2)]
    down, up, dropped = low_rank_mean(downs, ups, [0.5, 0.5])
    assert torch.equal(up, torch.zeros(12, 4))
    assert dropped == 0.0
    # B is zero, so its gradient is what moves: it needs rows of A that are not.
    size = sum(float(d.norm()) for d in downs) / 2
    assert float(down.norm()) == pytest.approx(size, rel=1e-4)
    assert torch.linalg.matrix_rank(down) == 4


@pytest.mark.parametrize(("rows", "columns", "rank"), [(1, 12, 8), (6, 5, 32), (20, 12, 4)])
def test_round_after_round_the_factors_keep_their_sizes(rows: int, columns: int, rank: int) -> None:
    torch.manual_seed(0)
    down, up = torch.randn(rank, columns), torch.randn(rows, rank)
    size, product = float(down.norm()), up @ down
    for _ in range(6):
        down, up, _ = low_rank_mean([down, down], [up, up], [0.5, 0.5])
        assert float(down.norm()) == pytest.approx(size, rel=1e-4)
    # Cut to the rank once, the product stays.
    kept = torch.linalg.svdvals(product)[: min(rank, rows, columns)]
    assert float((up @ down).norm()) == pytest.approx(float(kept.norm()), rel=1e-4)


def test_rank_above_the_layer() -> None:
    downs, ups = [torch.randn(8, 5)], [torch.randn(6, 8)]
    down, up, _ = low_rank_mean(downs, ups, [1.0])
    assert down.shape == (8, 5)
    assert up.shape == (6, 8)
    assert torch.allclose(up @ down, ups[0] @ downs[0], atol=1e-4)
