"""The memory of a training: what each setting saves, on a GPU and without one."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from memshield.config.file import make_config
from memshield.families.kinds import PIPELINES
from memshield.forecast.memory import LINEAR, Sizes, moment_bytes, peak_memory
from tests.bench.published import MODELS, build

XL = Sizes("stable_diffusion_xl", 2_567_463_684, 128**2, lora=True, cached=True, has_gpu=True)


def peak(sizes: Sizes = XL, **settings: Any) -> float:
    needed = {"pretrained_model_name_or_path": "x", "dataset_name": "y", "train_batch_size": 1}
    spared = {"mixed_precision": "bf16", "gradient_checkpointing": True}
    return peak_memory(make_config({**needed, **spared, **settings}), sizes) / 1e9


@pytest.mark.parametrize("name", list(MODELS))
def test_the_share_of_linear_layers_is_that_of_published_models(name: str) -> None:
    model = build(name)
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
    share = linear / sum(p.numel() for p in model.parameters())
    assert LINEAR[PIPELINES[MODELS[name]["pipeline"]]] == pytest.approx(share, abs=0.04)


def test_each_way_to_hold_the_base_takes_less() -> None:
    plain = peak()
    assert peak(base_quantization="nf4") < peak(base_quantization="int8") < plain
    assert peak(base_quantization="fp8") == peak(base_quantization="int8")
    # A byte a weight less, of those that are held so.
    assert plain - peak(base_quantization="int8") == pytest.approx(2.567 * 0.87, rel=0.01)
    assert plain - peak(enable_layerwise_casting=True) == pytest.approx(2.567, rel=0.01)
    assert peak(enable_group_offload=True) < peak(enable_layerwise_casting=True)
    without = XL._replace(has_gpu=False)
    assert peak(without, enable_group_offload=True) == peak(without)


def test_moments_by_optimizer() -> None:
    needed = {"pretrained_model_name_or_path": "x", "dataset_name": "y", "training": "full"}
    adam, eight, adafactor = (
        moment_bytes(make_config({**needed, **changes}))
        for changes in ({}, {"use_8bit_adam": True}, {"use_adafactor": True})
    )
    assert adafactor < eight < adam == 8
    full = XL._replace(lora=False)
    assert peak(full) - peak(full, use_adafactor=True) == pytest.approx(2.567 * 8, rel=0.01)


def test_text_encoders_count_before_the_network_not_beside_it() -> None:
    cached, live = peak(), peak(XL._replace(cached=False))
    assert 0 < live - cached < 0.2, "the VAE alone"
    assert peak(XL._replace(has_gpu=False)) - cached == pytest.approx(0.9e9 * 2 / 1e9)
    tiny = XL._replace(parameters=1000)
    assert peak(tiny) > 0.9e9 * 2 / 1e9, "the encoders' turn is the larger one"
