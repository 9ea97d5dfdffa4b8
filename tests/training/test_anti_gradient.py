"""The loss bank against the paper's loop, one sample after the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from memshield.training.anti_gradient import LossBank, masked_mean


def naive_update(mean: list[float], losses: Tensor, slots: Tensor, decay: float) -> None:
    for loss, slot in zip(losses.tolist(), slots.tolist(), strict=True):
        mean[slot] = decay * mean[slot] + (1 - decay) * loss


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("slots_in_use", [1, 3, 50])
@pytest.mark.parametrize("at_once", [False, True], ids=["on the host", "as on a GPU"])
def test_update_equals_the_loop_over_samples(
    decay: float, slots_in_use: int, at_once: bool
) -> None:
    generator = torch.Generator().manual_seed(slots_in_use)
    bank = LossBank(50, decay=decay)
    update = bank._update_at_once if at_once else bank.update
    naive = [0.0] * 50
    for _ in range(20):
        losses = torch.rand(32, generator=generator)
        slots = torch.randint(0, slots_in_use, (32,), generator=generator)
        update(losses, slots)
        naive_update(naive, losses, slots, decay)
    assert torch.allclose(bank.mean, torch.tensor(naive), atol=1e-6)
    assert bank.hits.sum() == 20 * 32


def test_order_within_a_batch_counts() -> None:
    bank = LossBank(2, decay=0.5)
    bank.update(torch.tensor([1.0, 0.0]), torch.tensor([1, 1]))
    assert bank.mean.tolist() == [0.0, 0.25]
    other = LossBank(2, decay=0.5)
    other.update(torch.tensor([0.0, 1.0]), torch.tensor([1, 1]))
    assert other.mean.tolist() == [0.0, 0.5]


def test_keep_reads_the_bank_before_the_batch() -> None:
    bank = LossBank(4, decay=0.5)
    bank.update(torch.tensor([2.0]), torch.tensor([1]))  # mean 1.0
    losses = torch.tensor([0.49, 0.5, 0.0])
    slots = torch.tensor([1, 1, 2])
    # At the threshold a sample is kept, and a level never seen keeps everything.
    assert bank.keep(losses, slots, 0.5).tolist() == [False, True, True]


def test_threshold_zero_keeps_everything() -> None:
    bank = LossBank(4)
    bank.update(torch.ones(4), torch.arange(4))
    assert bank.keep(torch.zeros(4), torch.arange(4), 0.0).all()


def test_wider_bins_share_a_mean() -> None:
    bank = LossBank(1000, bins=10, decay=0.5)
    bank.update(torch.tensor([1.0, 3.0]), torch.tensor([0, 99]))
    bank.update(torch.tensor([8.0]), torch.tensor([999]))
    assert bank.mean[0] == pytest.approx(0.5 * 0.5 * 1.0 + 0.5 * 3.0)
    assert bank.mean[9] == 4.0
    assert bank.read(torch.tensor([50])).item() == bank.mean[0]


def test_debiased_mean_of_a_constant_is_the_constant() -> None:
    bank = LossBank(3, decay=0.8, debias=True)
    for _ in range(4):
        bank.update(torch.tensor([0.7]), torch.tensor([1]))
        assert bank.read(torch.tensor([1])).item() == pytest.approx(0.7, rel=1e-5)
    plain = LossBank(3, decay=0.8)
    plain.update(torch.tensor([0.7]), torch.tensor([1]))
    assert plain.read(torch.tensor([1])).item() == pytest.approx(0.14)
    # A level never hit stays at zero instead of 0 / 0.
    assert bank.read(torch.tensor([0, 2])).tolist() == [0.0, 0.0]


def test_state_survives() -> None:
    bank = LossBank(5)
    bank.update(torch.rand(8), torch.randint(0, 5, (8,)))
    other = LossBank(5)
    other.load_state_dict(bank.state_dict())
    assert torch.equal(other.mean, bank.mean)
    assert torch.equal(other.hits, bank.hits)


def test_update_gives_the_same_bits_every_time() -> None:
    losses, slots = torch.rand(256), torch.randint(0, 7, (256,))
    banks = []
    for _ in range(3):
        bank = LossBank(7)
        bank.update(losses, slots)
        banks.append(bank.mean)
    assert torch.equal(banks[0], banks[1])
    assert torch.equal(banks[0], banks[2])


def test_masked_mean_ignores_skipped_samples_even_where_they_overflow() -> None:
    losses = torch.tensor([1.0, float("inf"), 3.0], requires_grad=True)
    keep = torch.tensor([True, False, True])
    loss = masked_mean(losses, torch.tensor([1.0, 1.0, 2.0]), keep, 2.0)
    assert loss.item() == pytest.approx(3.5)
    loss.backward()
    assert losses.grad is not None
    assert losses.grad.tolist() == [0.5, 0.0, 1.0]
