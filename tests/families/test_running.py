"""How networks are run: VAEs in slices and tiles, channels-last order, compilation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from memshield.errors import UserError
from memshield.families.base import Family, Pictures, evaluating
from memshield.families.latent import LatentDiffusion
from tests.families import SHORT, loaded, looked_up
from tests.tiny import ddpm_pipeline, image_folder, unet_config
from tests.trained_runs import digits, train, weights

LATENT = ["tiny_sd", "tiny_sdxl"]


@pytest.fixture
def base(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(request.param)
    return folder


def encoded(family: Family, side: int) -> tuple[Tensor, list[tuple[int, ...]]]:
    """Moments of three pictures, and the shapes that the VAE's encoder was given."""
    assert isinstance(family, LatentDiffusion)
    shapes: list[tuple[int, ...]] = []
    hook = family.vae.encoder.register_forward_pre_hook(
        lambda module, args: shapes.append(tuple(args[0].shape))
    )
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, 3, side, side), generator=generator, dtype=torch.uint8)
    corner = torch.zeros(3, 2, dtype=torch.int64)
    moments = family.encode_pictures(Pictures(pixels, corner + side, corner))["moments"]
    hook.remove()
    return moments, shapes


# The VAE


@pytest.mark.parametrize("base", LATENT, indirect=True)
def test_slices_are_encoded_one_by_one(base: Path, captioned: Path) -> None:
    whole, at_once = encoded(loaded(base, captioned), 16)
    sliced, one_by_one = encoded(loaded(base, captioned, enable_vae_slicing=True), 16)
    assert at_once == [(3, 3, 16, 16)]
    assert one_by_one == [(1, 3, 16, 16)] * 3
    assert torch.allclose(sliced, whole, atol=1e-5)


@pytest.mark.parametrize("base", LATENT, indirect=True)
def test_large_pictures_are_encoded_in_tiles(base: Path, captioned: Path) -> None:
    whole, _ = encoded(loaded(base, captioned), 32)
    tiled, shapes = encoded(loaded(base, captioned, enable_vae_tiling=True), 32)
    assert len(shapes) > 1
    assert max(shape[-1] for shape in shapes) == 16
    assert tiled.shape == whole.shape
    assert not torch.allclose(tiled, whole, atol=1e-4), "which is why caches are kept apart"


@pytest.mark.parametrize(
    "name", ["enable_vae_slicing", "enable_vae_tiling", "pretrained_vae_model_name_or_path"]
)
def test_pixel_models_have_no_vae(tmp_path: Path, name: str) -> None:
    pixels = ddpm_pipeline(tmp_path / "base", channels=3)
    value = str(tmp_path) if name.startswith("pretrained") else True
    with pytest.raises(UserError, match="this model has no VAE") as caught:
        looked_up(pixels, tmp_path, **{name: value})
    assert caught.value.field == name


# The order of a network's weights


def order_of(family: Family) -> set[bool]:
    """Whether convolutions of 3 x 3 lie in channels-last order."""
    return {
        module.weight.is_contiguous(memory_format=torch.channels_last)
        for module in family.network.modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    }


@pytest.mark.parametrize("training", ["full", "lora"])
@pytest.mark.parametrize("base", LATENT, indirect=True)
def test_channels_last_is_as_set(base: Path, captioned: Path, training: str) -> None:
    settings: dict[str, Any] = {"training": training}
    assert order_of(loaded(base, captioned, **settings, channels_last=True)) == {True}
    assert order_of(loaded(base, captioned, **settings, channels_last=False)) == {False}
    assert order_of(loaded(base, captioned, **settings)) == {False}


@pytest.mark.parametrize(
    ("device", "dtype", "setting", "expected"),
    [
        ("cuda", torch.bfloat16, None, True),
        ("cuda", torch.float16, None, True),
        ("cuda", torch.float32, None, False),
        ("cpu", torch.bfloat16, None, False),
        ("cuda", torch.bfloat16, False, False),
        ("cpu", torch.float32, True, True),
    ],
)
def test_channels_last_by_default(
    tiny_sd: Path,
    captioned: Path,
    device: str,
    dtype: torch.dtype,
    setting: bool | None,
    expected: bool,
) -> None:
    family = loaded(tiny_sd, captioned, channels_last=setting)
    family.device, family.frozen_dtype = torch.device(device), dtype
    assert family.in_channels_last() is expected


@pytest.mark.parametrize("kind", ["pixels", "tiny_sd", "tiny_sdxl"])
def test_channels_last_trains_the_same(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    model = ddpm_pipeline(tmp_path / "pixels", 3) if kind == "pixels" else None
    settings: dict[str, Any] = {
        "pretrained_model_name_or_path": model or request.getfixturevalue(kind),
        "train_data_dir": image_folder(tmp_path / "pictures"),
        "training": "full",
        **SHORT,
        "learning_rate": 1e-4,
    }
    plain = weights(train(**settings, channels_last="false", output_dir=tmp_path / "plain"))
    ordered = weights(train(**settings, channels_last="true", output_dir=tmp_path / "ordered"))
    assert set(plain) == set(ordered)
    for name, tensor in plain.items():
        assert torch.allclose(tensor, ordered[name], atol=2e-5), name


# Compilation


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def test_compiled_networks_are_sampled_uncompiled() -> None:
    compiled: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        compiled.append(len(inputs))
        return graph.forward

    torch._dynamo.reset()
    network = Doubled()
    network.compile(backend=backend)
    with evaluating(network):
        network(torch.ones(3, 2))
    assert not compiled
    network(torch.ones(3, 2))
    assert len(compiled) == 1


@pytest.mark.process  # the compiler has workers
@pytest.mark.slow
def test_compiled_training_is_the_same_and_compiles_once(tmp_path: Path) -> None:
    # Of one block alone the compiler for the CPU does not lose the gradients.
    unet = unet_config(
        tmp_path, block_out_channels=[8, 8, 8], down_block_types=["DownBlock2D"] * 3,
        up_block_types=["UpBlock2D"] * 3,
    )  # fmt: skip
    settings = digits(tmp_path, unet, num_validation_images=2, num_inference_steps=2)
    eager = weights(train(**{**settings, "output_dir": tmp_path / "eager"}))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    run = train(**{**settings, "output_dir": tmp_path / "compiled", "torch_compile": True})
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    compiled = weights(run)
    assert set(compiled) == set(eager)
    for name, tensor in eager.items():
        assert torch.allclose(compiled[name], tensor, atol=1e-5), name
