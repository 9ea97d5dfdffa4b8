"""What can only be seen on a GPU. These fail, not skip, without one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from memshield.anti_gradient import LossBank
from tests.runs import digits, train
from tests.tiny import unet_config

pytestmark = pytest.mark.gpu


def test_the_bank_never_waits_for_the_device() -> None:
    losses = torch.rand(128)
    slots = torch.randint(0, 1000, (128,))
    bank, on_cpu = LossBank(1000, device="cuda"), LossBank(1000)
    there = losses.cuda(), slots.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        keep = bank.keep(*there, 0.5)
        bank.update(*there)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    on_cpu.update(losses, slots)
    assert keep.all()
    assert torch.allclose(bank.mean.cpu(), on_cpu.mean, atol=1e-6)


def test_a_run_trains_on_the_gpu(tmp_path: Path) -> None:
    assert torch.cuda.is_available()
    run = train(**digits(tmp_path / "run", unet_config(tmp_path)))
    assert run.read_status()["state"] == "done"
