"""Non-leaky augmentation and dropout: what is done to pictures, what the network is told, and that
nothing of it is left in what is saved."""

from __future__ import annotations

import copy
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMPipeline, UNet2DModel
from torch import Tensor, nn

from memshield.families.augment import LABELS, SHIFT_DEVIATION, Augmentation, _places, _warp
from tests.tiny import unet_config
from tests.trained_runs import digits, refused, train, weights
from tests.training.test_method import Twin, assert_same_model, plain_optimizer

PREFIX = "unet/diffusion_pytorch_model.safetensors:"


def augmentation(probability: float) -> Augmentation:
    torch.manual_seed(0)
    return Augmentation(UNet2DModel(sample_size=8, block_out_channels=(32,) * 4), probability)


def pictures(count: int, side: int = 16) -> Tensor:
    return torch.rand((count, 1, side, side), generator=torch.Generator().manual_seed(1)) * 2 - 1


def warped(picture: Tensor, **changes: float) -> Tensor:
    """One picture [1, 1, H, W] under one change."""
    values = {"scale": 0.0, "turn": 0.0, "stretch": 0.0, "axis": 0.0, "right": 0.0, "down": 0.0}
    given = {name: torch.tensor([value]) for name, value in {**values, **changes}.items()}
    shift = torch.stack([given["right"], given["down"]])
    places = _places(given["scale"], given["turn"], given["stretch"], given["axis"], shift)
    return _warp(picture, places)


def test_a_shift_moves_by_whole_pixels() -> None:
    picture = pictures(1)
    pixel = 1 / (SHIFT_DEVIATION * 16)
    assert torch.allclose(warped(picture, right=pixel)[..., 1:], picture[..., :-1], atol=1e-5)
    moved = warped(picture, down=-2 * pixel)
    assert torch.allclose(moved[..., :-2, :], picture[..., 2:, :], atol=1e-5)


def test_a_quarter_turn_is_rot90() -> None:
    picture = pictures(1)
    assert torch.allclose(warped(picture, turn=math.pi / 2), picture.rot90(-1, (2, 3)), atol=1e-5)


def test_a_scale_enlarges_the_middle() -> None:
    """By 2^(0.2 s): a square of 4 px becomes one of 8 px for s = 5."""
    picture = torch.full((1, 1, 16, 16), -1.0)
    picture[..., 6:10, 6:10] = 1
    grown = warped(picture, scale=5.0)
    assert int((grown > 0).sum()) == 64
    wide = warped(picture, stretch=5.0)  # along the first axis, and the other one shrinks
    assert int((wide > 0).any(dim=2).sum()) == 8
    # Beyond the edge the picture is mirrored: only the middle counts.
    assert int((wide[..., 4:12, :] > 0).any(dim=3).sum()) == 2


def test_a_share_is_changed_and_the_rest_keeps_its_pixels() -> None:
    clean = pictures(4000, 8)
    found = augmentation(0.12).draw(clean, torch.Generator().manual_seed(0))
    assert found.labels.shape == (4000, LABELS)
    flip, upside, scale, turn = (found.labels[:, i] for i in (0, 1, 2, 4))
    assert set(flip.tolist()) == {0.0, 1.0}
    for column, share in ((flip, 0.5), (upside, 0.06), (scale, 0.12), (turn, 0.12)):
        assert abs(float((column != 0).double().mean()) - share) < 0.03
    same = (found.labels == 0).all(dim=1)
    assert 0.2 < float(same.double().mean()) < 0.4
    assert torch.equal(found.pixels[same], clean[same])
    only_flipped = (found.labels[:, 1:] == 0).all(dim=1) & (flip == 1)
    assert torch.equal(found.pixels[only_flipped], clean[only_flipped].flip(3))
    assert float(found.pixels.abs().max()) <= 1
    again = augmentation(0.12).draw(clean, torch.Generator().manual_seed(0))
    assert torch.equal(found.pixels, again.pixels)


def test_zero_labels_are_a_plain_network() -> None:
    torch.manual_seed(0)
    unet = UNet2DModel(sample_size=8, block_out_channels=(32,) * 4).eval()
    plain = copy.deepcopy(unet)
    made = Augmentation(unet, 0.1)
    nn.init.normal_(made.map.weight)
    noisy, t = torch.randn(2, 3, 8, 8), torch.tensor([5, 700])
    with torch.no_grad():
        expected = plain(noisy, t).sample
        with made.told(torch.zeros(2, LABELS)):
            assert torch.equal(unet(noisy, t).sample, expected)
        with made.told(torch.ones(2, LABELS)):
            assert not torch.allclose(unet(noisy, t).sample, expected)
        assert torch.equal(unet(noisy, t).sample, expected)


def test_training_equals_a_loop_and_leaves_a_stock_model(tmp_path: Path) -> None:
    """The twin adds the labels where the time embedding is computed, not through a hook."""
    settings = digits(
        tmp_path / "run",
        unet_config(tmp_path),
        num_shards=1,
        skip_threshold=0,
        num_rounds=2,
        max_train_steps=16,
        learning_rate=1e-2,
        adam_epsilon=1e-3,
        augment_probability=0.3,
    )
    run = train(**settings)
    twin = Twin(settings)
    config, scheduler = twin.config, twin.family.process.scheduler  # type: ignore[attr-defined]
    stock = UNet2DModel.from_config(twin.family.network.config)
    stock.load_state_dict(twin.family.network.state_dict())
    table = nn.Parameter(torch.zeros(8, LABELS))
    sinusoids, labels = stock.time_proj, torch.zeros(4, LABELS)

    class Told(nn.Module):
        def forward(self, t: Tensor) -> Tensor:
            found: Tensor = sinusoids(t) + labels @ table.T
            return found

    stock.time_proj = Told()
    optimizer = plain_optimizer(config, [*stock.parameters(), table])
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    stock.train()
    for step in range(16):
        (batch,) = twin.batches[0][step]
        draw = twin.family.draw(twin.encoder.encode(batch), twin.generator(0, step))
        assert draw.augment is not None
        labels = draw.augment
        predicted = stock(scheduler.add_noise(draw.clean, draw.noise, draw.level), draw.level)
        F.mse_loss(predicted.sample, draw.noise).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert float(table.detach().abs().max()) > 0.01
    plain = UNet2DModel.from_config(twin.family.network.config)
    plain.load_state_dict(stock.state_dict())
    assert_same_model(weights(run), plain, PREFIX)
    assert {name.removeprefix(PREFIX) for name in weights(run)} == set(plain.state_dict())
    pipeline = DDIMPipeline.from_pretrained(run.model)
    images = pipeline(1, torch.Generator().manual_seed(0), num_inference_steps=2, output_type="np")
    assert images.images.shape == (1, 8, 8, 1)


def test_draws_at_given_levels_are_not_augmented(tmp_path: Path) -> None:
    """Held-out pictures are looked at as they are."""
    settings = digits(
        tmp_path / "run", unet_config(tmp_path), num_shards=1, augment_probability=1.0
    )
    twin = Twin(settings)
    (batch,) = twin.batches[0][0]
    encoded = twin.encoder.encode(batch)
    levels = torch.tensor([1, 10, 100, 900])
    draw = twin.family.draw(encoded, twin.generator(0, 0), levels)
    assert draw.augment is None
    assert torch.equal(draw.clean, encoded["pixels"])
    assert torch.equal(draw.level, levels)
    assert twin.family.draw(encoded, twin.generator(0, 0)).augment is not None


def test_an_ensemble_with_augmentation_goes_on_where_it_was(tmp_path: Path) -> None:
    unet = unet_config(tmp_path)
    changes: dict[str, Any] = {"augment_probability": 0.3, "use_ema": True, "ema_decay": 0.8}
    settings = digits(tmp_path / "run", unet, **changes)
    run = train(**settings)
    whole = weights(run)
    for step in run.checkpoints():
        if step > 12:
            shutil.rmtree(run.path / f"checkpoint-{step}")
    shutil.rmtree(run.model)
    train(**settings)
    for name, tensor in whole.items():
        assert torch.equal(tensor, weights(run)[name]), name


def test_dropout_is_of_training_only(tmp_path: Path) -> None:
    unet = unet_config(tmp_path)
    settings: dict[str, Any] = {
        "num_shards": 1,
        "skip_threshold": 0,
        "num_rounds": 1,
        "max_train_steps": 6,
        "checkpointing_steps": 1000,
    }
    plain = train(**digits(tmp_path / "plain", unet, **settings))
    dropped = train(**digits(tmp_path / "dropped", unet, dropout=0.5, **settings))
    of_config = train(
        **digits(tmp_path / "config", unet_config(tmp_path / "two", dropout=0.5), **settings)
    )
    differ = [not torch.equal(t, weights(dropped)[name]) for name, t in weights(plain).items()]
    assert any(differ)
    for name, tensor in weights(of_config).items():
        assert torch.equal(tensor, weights(dropped)[name]), name
    assert UNet2DModel.from_pretrained(dropped.model, subfolder="unet").config.dropout == 0.0


@pytest.mark.parametrize("name", ["augment_probability", "dropout"])
def test_a_model_of_latents_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_sd: Path, captioned: Path, name: str
) -> None:
    said = refused(
        capsys,
        pretrained_model_name_or_path=tiny_sd,
        train_data_dir=captioned,
        output_dir=tmp_path / "run",
        **{name: 0.1},
    )
    assert name in said
    assert "pixel models" in said
