"""A frozen base in less memory: what is trained on it, and that its gradients are right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from memshield.config.file import make_config
from memshield.families import memory
from memshield.families.base import Family, Pictures
from tests.families import loaded

SPARED: list[Any] = [
    pytest.param({"base_quantization": "int8"}, marks=pytest.mark.quantization),
    pytest.param({"base_quantization": "fp8"}, marks=pytest.mark.quantization),
    {"enable_layerwise_casting": True, "gradient_checkpointing": True},
    {"enable_group_offload": True, "gradient_checkpointing": True},
]


def names(settings: dict[str, Any]) -> str:
    return next(f"{name}-{value}" for name, value in settings.items())


def filled(family: Family) -> Family:
    """With LoRA matrices that both matter."""
    for index, parameter in enumerate(family.trainable().values()):
        seed = torch.Generator().manual_seed(index)
        parameter.data.copy_(torch.randn(parameter.shape, generator=seed) / 10)
    return family


def gradients(family: Family) -> dict[str, Tensor]:
    pictures = Pictures(
        torch.randint(0, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(
            torch.uint8
        ),
        torch.full((2, 2), 16),
        torch.zeros(2, 2, dtype=torch.int64),
    )
    encoded = family.encode_pictures(pictures) | family.encode_captions(["a cat", "a dog"])
    draw = family.draw(encoded, torch.Generator(family.device).manual_seed(1))
    family.network.train()
    family.network.zero_grad()
    lower = family.frozen_dtype != torch.float32
    with torch.autocast(family.device.type, family.frozen_dtype, enabled=lower):
        family.loss(family.predict(encoded, draw), draw).value.mean().backward()
    return {name: p.grad.clone() for name, p in family.trainable().items() if p.grad is not None}


def used_weight(module: nn.Module) -> Tensor:
    """What a linear or convolutional layer multiplies with."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    dequantize = getattr(weight, "dequantize", None)
    plain: Tensor = dequantize() if type(weight.data) is not Tensor and dequantize else weight
    return plain.detach()


def layers(network: nn.Module) -> dict[str, Any]:
    return {n: m for n, m in network.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))}


@pytest.mark.parametrize("family", ["tiny_sd", "tiny_sdxl"])
@pytest.mark.parametrize("settings", SPARED, ids=names)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_gradients_are_those_of_a_base_with_the_rounded_weights(
    request: pytest.FixtureRequest, captioned: Path, family: str, settings: dict[str, Any],
    dtype: torch.dtype,
) -> None:  # fmt: skip
    require_gradients(request.getfixturevalue(family), captioned, dtype, settings)


@pytest.mark.parametrize("settings", [SPARED[0], SPARED[-1]], ids=names)
def test_a_transformer_is_spared_as_a_unet_is(
    tiny_flux: Path, captioned: Path, settings: dict[str, Any]
) -> None:
    spared = require_gradients(tiny_flux, captioned, torch.float32, settings, resolution=16)
    linear = [m for n, m in layers(spared.network).items() if n.endswith(("proj_out", "proj_mlp"))]
    held = [name for m in linear for name, _ in m.named_parameters() if name == "weight"]
    if "base_quantization" in settings:
        assert all(m.weight.qdata.dtype == torch.int8 for m in linear)
    else:
        assert linear and not held


def require_gradients(
    base: Path, captioned: Path, dtype: torch.dtype, settings: dict[str, Any], **size: Any
) -> Family:
    """Those of a base that is spared are those of a plain one with its weights; the first."""
    spared = filled(loaded(base, captioned, dtype, **settings, **size))
    plain = filled(loaded(base, captioned, dtype, **size))
    rounded = layers(spared.network)
    for name, module in layers(plain.network).items():
        if not module.weight.requires_grad:
            module.weight.data.copy_(used_weight(rounded[name]))
    found, expected = gradients(spared), gradients(plain)
    assert found.keys() == expected.keys() == spared.trainable().keys()
    # Products in 16 bits are rounded elsewhere where a weight is quantized.
    tolerance = 1e-5 if dtype == torch.float32 else 0.25
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= tolerance * gradient.norm() > 0, name
    return spared


@pytest.mark.parametrize("settings", SPARED, ids=names)
def test_the_lora_is_the_same_as_on_a_plain_base(
    tiny_sd: Path, captioned: Path, settings: dict[str, Any]
) -> None:
    """Names, start and precision: the exact mean over shards knows nothing of the base."""
    plain = loaded(tiny_sd, captioned, torch.bfloat16).trainable()
    spared = loaded(tiny_sd, captioned, torch.bfloat16, **settings).trainable()
    assert list(spared) == list(plain)
    for name, parameter in plain.items():
        assert spared[name].dtype == torch.float32
        assert torch.equal(spared[name], parameter)


@pytest.mark.parametrize("settings", SPARED, ids=names)
def test_the_base_takes_less_memory(
    tiny_sd: Path, captioned: Path, settings: dict[str, Any]
) -> None:
    spared = loaded(tiny_sd, captioned, **settings).network
    kept = sum(p.nbytes for p in spared.parameters() if type(p.data) is Tensor)
    whole = sum(p.nbytes for p in loaded(tiny_sd, captioned).network.parameters())
    linear = [m for m in layers(spared).values() if isinstance(m, nn.Linear)]
    assert kept < whole / (1.2 if "base_quantization" in settings else 2)
    if settings.get("base_quantization") == "int8":
        weight: Any = next(m.weight for m in linear if not m.weight.requires_grad)
        assert weight.qdata.dtype == torch.int8


def test_what_is_taken_out_is_not_moved_or_trained(tiny_sd: Path, captioned: Path) -> None:
    family = loaded(tiny_sd, captioned, enable_group_offload=True, gradient_checkpointing=True)
    network: Any = family.network
    names_left = {name for name, _ in network.named_parameters()}
    assert not any(name.endswith("conv_in.weight") for name in names_left)
    before = network.conv_in.weight.clone()
    network.to(torch.float64)
    assert network.conv_in.weight.dtype == torch.float32
    assert torch.equal(network.conv_in.weight, before)
    assert isinstance(network.conv_in, nn.Conv2d)


def test_layers_that_a_transformer_names_keep_their_precision(
    tiny_krea2: Path, captioned: Path
) -> None:
    settings = {"enable_layerwise_casting": True, "gradient_checkpointing": True}
    spared = require_gradients(tiny_krea2, captioned, torch.float32, settings, resolution=16)
    found = layers(spared.network)
    plain = layers(loaded(tiny_krea2, captioned, resolution=16).network)
    same = {n for n in found if torch.equal(used_weight(found[n]), used_weight(plain[n]))}
    frozen = {n for n, module in found.items() if not module.weight.requires_grad}
    assert same & frozen == {f"time_embed.linear_{i}.base_layer" for i in (1, 2)}


def test_sensitive_layers_keep_their_precision() -> None:
    needed = {"pretrained_model_name_or_path": "x", "train_data_dir": "y"}
    config = make_config({**needed, "enable_layerwise_casting": True})
    network: Any = nn.ModuleDict({name: nn.Linear(4, 4) for name in ("norm_out", "proj")})
    network.requires_grad_(False)
    norm, plain = (network[name].weight.clone() for name in ("norm_out", "proj"))
    memory.hold(network, config, torch.device("cpu"), channels_last=False)
    assert torch.equal(network["norm_out"].weight, norm)
    assert torch.equal(network["proj"].weight, plain.to(memory.STORED).float())
    assert not torch.equal(network["proj"].weight, plain)


@pytest.mark.parametrize("settings", SPARED, ids=names)
def test_samples_are_drawn_from_a_spared_base(
    tiny_sd: Path, captioned: Path, settings: dict[str, Any]
) -> None:
    pictures = loaded(tiny_sd, captioned, **settings).sample([1, 2], ["a", "b"], 2)
    assert pictures.shape == (2, 16, 16, 3)
    again = loaded(tiny_sd, captioned, **settings).sample([1, 2], ["a", "b"], 2)
    assert (pictures == again).all()
