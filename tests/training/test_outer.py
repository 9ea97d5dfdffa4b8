"""The outer optimizer against torch's own, and inside whole runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from memshield.config.file import make_config
from memshield.rundir import RunDir
from memshield.training.outer import OuterStep
from tests.tiny import unet_config
from tests.trained_runs import digits, go_back, refused, train, weights

NEEDED = {"model_config_name_or_path": "x", "dataset_name": "sklearn:digits"}


@pytest.mark.parametrize("lr", [1.0, 0.7])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_outer_step_is_torchs_sgd_with_nesterov_momentum(lr: float, momentum: float) -> None:
    config = make_config({**NEEDED, "outer_learning_rate": lr, "outer_momentum": momentum})
    generator = torch.Generator().manual_seed(0)
    begun = {"a": torch.randn(3, 4, generator=generator), "b": torch.randn(5, generator=generator)}
    parameters = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in begun.items()}
    sgd = torch.optim.SGD(parameters.values(), lr=lr, momentum=momentum, nesterov=momentum > 0)
    outer = OuterStep(config)
    theta = {name: tensor.clone() for name, tensor in begun.items()}
    for _ in range(4):
        mean = {n: t + 0.1 * torch.randn(t.shape, generator=generator) for n, t in theta.items()}
        average = torch.randn(2, generator=generator)
        for name, parameter in parameters.items():
            parameter.grad = parameter.detach() - mean[name]
        sgd.step()
        mean["ema.a"] = average.clone()
        outer.apply([*theta.items(), ("ema.a", torch.zeros(2))], mean, set(parameters))
        assert torch.equal(mean.pop("ema.a"), average), "averages are not moved"
        theta = {name: tensor.clone() for name, tensor in mean.items()}
        for name, parameter in parameters.items():
            assert torch.allclose(theta[name], parameter, atol=1e-6)


def start_of(run: RunDir, step: int) -> dict[str, torch.Tensor]:
    return dict(load_file(run.checkpoint(step) / "start.safetensors"))


def test_a_run_follows_the_mean_difference(tmp_path: Path) -> None:
    unet = unet_config(tmp_path)
    plain = train(**digits(tmp_path / "plain", unet, use_ema=True))
    half = train(**digits(tmp_path / "half", unet, use_ema=True, outer_learning_rate=0.5))
    begun, mean, found = start_of(plain, 0), start_of(plain, 8), start_of(half, 8)
    for name, tensor in found.items():
        if name.startswith("ema."):
            assert torch.allclose(tensor, mean[name], atol=1e-6)
        else:
            assert torch.allclose(tensor, (begun[name] + mean[name]) / 2, atol=1e-6)


@pytest.mark.parametrize("back", [16, 19])
def test_a_resumed_run_has_the_momentum_it_had(tmp_path: Path, back: int) -> None:
    settings = digits(
        tmp_path / "run", unet_config(tmp_path), outer_momentum=0.9, outer_learning_rate=0.7
    )
    settings["checkpointing_steps"] = 19
    run = train(**settings)
    before = weights(run)
    momentum = load_file(run.checkpoint(24) / "momentum.safetensors")
    run.status.unlink()
    go_back(back, settings)
    for name, tensor in weights(run).items():
        assert torch.equal(tensor, before[name])
    for name, tensor in load_file(run.checkpoint(24) / "momentum.safetensors").items():
        assert torch.equal(tensor, momentum[name])


def test_where_there_is_no_outer_optimizer(
    tmp_path: Path, tiny_sd: Path, captioned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unet = unet_config(tmp_path)
    said = refused(capsys, **digits(tmp_path / "a", unet, num_shards=1, outer_momentum=0.9))
    assert "num_shards is 1" in said
    said = refused(
        capsys,
        pretrained_model_name_or_path=tiny_sd,
        train_data_dir=captioned,
        outer_learning_rate=0.7,
        output_dir=tmp_path / "b",
    )
    assert "outer_learning_rate: the outer optimizer is for full training" in said
