"""Runs whose base or optimizer takes less memory: they train, resume exactly, and are loaded."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import nn
from transformers.optimization import Adafactor

from memshield.config.file import make_config
from memshield.training.moments import of_optimizer
from memshield.training.step import make_optimizer
from tests.families import sample
from tests.tiny import unet_config
from tests.trained_runs import digits, go_back, refused, train, weights

KINDS: dict[str, dict[str, Any]] = {
    "int8": {"base_quantization": "int8"},
    "fp8": {"base_quantization": "fp8", "mixed_precision": "bf16"},
    "casting": {"enable_layerwise_casting": True, "gradient_checkpointing": True},
    "adafactor": {"use_adafactor": True},
}


def settings(folder: Path, base: Path, data: Path, **changes: Any) -> dict[str, Any]:
    """Two shards, two rounds, eight steps of a LoRA."""
    return {
        "pretrained_model_name_or_path": base,
        "train_data_dir": data,
        "num_shards": 2,
        "num_rounds": 2,
        "max_train_steps": 8,
        "train_batch_size": 2,
        "checkpointing_steps": 1,
        "learning_rate": 1e-2,
        "num_validation_images": 1,
        "num_inference_steps": 2,
        "output_dir": folder / "run",
        **changes,
    }


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.quantization] if "base_quantization" in words else [])
        for kind, words in KINDS.items()
    ],
)
def test_it_trains_and_goes_on_with_the_same_bits(
    tmp_path: Path, tiny_sd: Path, captioned: Path, kind: str
) -> None:
    words = settings(tmp_path, tiny_sd, captioned, **KINDS[kind])
    run = train(**words)
    losses = [event["loss"] for event in run.read_events() if event["type"] == "round"]
    assert len(losses) == 2
    before = {name: tensor.clone() for name, tensor in weights(run).items()}
    assert all(tensor.dtype == torch.float32 for tensor in before.values())
    # 3 is inside a shard's turn, where the moments are part of what is gone on with.
    run.status.unlink()
    go_back(3, words)
    for name, tensor in weights(run).items():
        assert torch.equal(tensor, before[name]), name
    pipeline = DiffusionPipeline.from_pretrained(tiny_sd)
    pipeline.load_lora_weights(run.model)
    sample(pipeline, "picture number 1")


@pytest.mark.quantization
def test_the_setting_changes_what_is_trained(
    tmp_path: Path, tiny_sd: Path, captioned: Path
) -> None:
    plain = weights(train(**settings(tmp_path / "plain", tiny_sd, captioned)))
    other = train(**settings(tmp_path / "int8", tiny_sd, captioned, base_quantization="int8"))
    assert any(not torch.equal(tensor, plain[name]) for name, tensor in weights(other).items())


def test_adafactor_keeps_a_row_and_a_column() -> None:
    needed = {"model_config_name_or_path": "x", "dataset_name": "y", "use_adafactor": True}
    matrix = nn.Parameter(torch.randn(40, 30))
    optimizer = make_optimizer(make_config(needed), [matrix])
    assert isinstance(optimizer, Adafactor)
    matrix.square().sum().backward()
    optimizer.step()
    tensors, _ = of_optimizer(optimizer)
    assert sum(tensor.numel() for tensor in tensors.values()) <= 40 + 30 + 1


@pytest.mark.parametrize(
    "optimizer",
    ["use_adafactor", pytest.param("use_8bit_adam", marks=pytest.mark.quantization)],
)
def test_a_pixel_model_is_trained_in_full(tmp_path: Path, optimizer: str) -> None:
    # Only tensors of 4,096 numbers and more have moments in 8 bits.
    unet = unet_config(tmp_path, block_out_channels=[16, 32])
    words = digits(tmp_path / "run", unet, **{optimizer: True})
    run = train(**words)
    before = {name: tensor.clone() for name, tensor in weights(run).items()}
    run.status.unlink()
    go_back(9, words)
    for name, tensor in weights(run).items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"base_quantization": "int8", "training": "full"}, "full training changes every weight"),
        ({"enable_group_offload": True, "training": "full"}, "full training changes every"),
        ({"enable_layerwise_casting": True}, "Set gradient_checkpointing to true"),
        (
            {"enable_layerwise_casting": True, "gradient_checkpointing": True,
             "base_quantization": "fp8"},
            "base_quantization is fp8",
        ),
        (
            {"enable_layerwise_casting": True, "gradient_checkpointing": True,
             "torch_compile": True},
            "torch_compile does not see",
        ),
        ({"base_quantization": "int4"}, "base_quantization"),
    ],
)  # fmt: skip
def test_contradictions(
    tmp_path: Path, tiny_sd: Path, captioned: Path, capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any], expected: str,
) -> None:  # fmt: skip
    assert expected in refused(capsys, **settings(tmp_path, tiny_sd, captioned, **changes))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_needs_a_gpu(
    tmp_path: Path, tiny_sd: Path, captioned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = settings(tmp_path, tiny_sd, captioned)
    said = refused(capsys, **words, enable_group_offload=True, gradient_checkpointing=True)
    assert "keeps layers off a GPU, and there is none" in said
    said = refused(capsys, **words, base_quantization="nf4")
    assert "nf4 needs a GPU, and there is none" in said


def test_a_package_that_is_not_installed(
    tmp_path: Path, tiny_sd: Path, captioned: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    words = settings(tmp_path, tiny_sd, captioned)
    there = importlib.util.find_spec

    def none_there(name: str, package: str | None = None) -> Any:
        return None if name in ("bitsandbytes", "torchao") else there(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", none_there)
    for kind in ("int8", "fp8"):
        said = refused(capsys, **words, base_quantization=kind)
        assert f"{kind} needs torchao, which is not installed" in said
        assert "pip install torchao, or pip install '.[quantization]'" in said
    assert "bitsandbytes is not installed" in refused(capsys, **words, use_8bit_adam=True)
