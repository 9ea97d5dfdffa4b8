"""What can only be seen on a GPU. These fail, not skip, without one."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from memshield.families import load
from memshield.families.base import Placement
from memshield.rundir import RunDir
from memshield.training.anti_gradient import LossBank
from memshield.training.launch import make_accelerator
from tests.families import looked_up
from tests.families.test_memory import filled, gradients
from tests.families.test_running import order_of
from tests.tiny import ddpm_pipeline, image_folder, sd_components, unet_config
from tests.trained_runs import ROOT, digits, flags, train, weights

pytestmark = [pytest.mark.gpu, pytest.mark.process]

# A child whose kernels give the same bits every time; it must be new, as cuBLAS reads its
# workspace setting once.
DETERMINISTIC = """
import sys, torch
torch.use_deterministic_algorithms(True)
from memshield.train import main
sys.exit(main(sys.argv[1:]))
"""
# A child that may take only so many bytes of the GPU.
LIMITED = """
import sys, torch
from memshield.train import main
whole = torch.cuda.get_device_properties(0).total_memory
torch.cuda.set_per_process_memory_fraction(int(sys.argv[1]) / whole)
sys.exit(main(sys.argv[2:]))
"""


def require_gpu() -> None:
    assert torch.cuda.is_available(), "these tests need a GPU"


def run_child(code: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_bank_never_waits_for_the_device() -> None:
    require_gpu()
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
    require_gpu()
    run = train(**digits(tmp_path / "run", unet_config(tmp_path)))
    assert run.read_status()["state"] == "done"


# Memory


def peak_of(**settings: Any) -> int:
    """Largest number of bytes that tensors of a training took on the GPU."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    train(**settings)
    return torch.cuda.max_memory_allocated()


def test_device_memory_of_a_lora_does_not_grow_with_shards(tmp_path: Path) -> None:
    require_gpu()
    # The LoRA is large beside the rest, so that copies of it on the device would be seen.
    settings: dict[str, Any] = {
        "pretrained_model_name_or_path": wide_sd(tmp_path / "sd"),
        "train_data_dir": image_folder(tmp_path / "pictures", 32),
        "rank": 128,
        "num_rounds": 2,
        "max_train_steps": 32,
        "train_batch_size": 1,
        "held_out_fraction": 0,
        "num_validation_images": 0,
    }
    # What the libraries keep on the device from their first use on is there for every run.
    train(**settings, num_shards=1, output_dir=tmp_path / "first")
    peaks = {
        count: peak_of(**settings, num_shards=count, output_dir=tmp_path / f"run-{count}")
        for count in (1, 2, 8)
    }
    assert peaks[2] <= 1.02 * peaks[1], peaks
    assert peaks[8] <= 1.02 * peaks[1], peaks


def wide_sd(folder: Path) -> Path:
    """A Stable Diffusion with a UNet of some million weights."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    parts = sd_components()
    wide = {"block_out_channels": (128, 256), "norm_num_groups": 32, "attention_head_dim": 8}
    parts["unet"] = UNet2DConditionModel.from_config({**parts["unet"].config, **wide})
    StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    ).save_pretrained(folder)
    return folder


def test_full_training_holds_one_copy_whatever_the_shards(tmp_path: Path) -> None:
    require_gpu()
    unet = unet_config(tmp_path, block_out_channels=[192, 384], attention_head_dim=64)
    settings = digits(tmp_path / "run", unet, train_batch_size=1, checkpointing_steps=100)
    settings |= {"num_rounds": 2, "max_train_steps": 32}
    train(**{**settings, "num_shards": 1, "output_dir": tmp_path / "first"})
    peaks = {
        count: peak_of(**{**settings, "num_shards": count, "output_dir": tmp_path / f"run-{count}"})
        for count in (1, 2, 8)
    }
    assert peaks[2] <= 1.02 * peaks[1], peaks
    assert peaks[8] <= 1.02 * peaks[1], peaks


def test_out_of_memory_on_the_gpu_is_named_with_what_to_change(tmp_path: Path) -> None:
    require_gpu()
    # The answer of the first convolution alone is 1 GiB.
    unet = unet_config(tmp_path, sample_size=512, block_out_channels=[64, 128])
    settings = digits(tmp_path / "run", unet, train_batch_size=16, max_train_steps=6)
    child = run_child(LIMITED, str(512 * 2**20), *flags(**settings))
    assert child.returncode == 1, child.stderr
    assert "Traceback" not in child.stderr
    run = RunDir(settings["output_dir"])
    status = run.read_status()
    assert (status["state"], status["error"]) == ("failed", "out_of_memory"), child.stderr
    reason = status["reason"]
    assert reason.startswith("the GPU is out of memory")
    assert "gradient_checkpointing: true" in reason
    assert "train_batch_size: 8" in reason
    assert run.checkpoints() == [0], "the checkpoint before is whole"


# Precision


def scalers(run: RunDir) -> list[dict[str, Any]]:
    """The gradient scaler of every shard in a run's last checkpoint."""
    folder = run.checkpoint(max(run.checkpoints()))
    found = []
    for path in sorted(folder.glob("shard-*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found.append(json.loads(file.metadata()["shard"])["scaler"])
    return found


def test_fp16_goes_on_with_the_same_bits_and_the_same_scale(tmp_path: Path) -> None:
    require_gpu()
    settings = digits(tmp_path / "whole", unet_config(tmp_path), mixed_precision="fp16")
    same_bits = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    child = run_child(DETERMINISTIC, *flags(**settings), **same_bits)
    assert child.returncode == 0, child.stderr
    whole, again = RunDir(tmp_path / "whole"), RunDir(tmp_path / "again")
    # Back to the middle of a shard's turn in the second round.
    shutil.copytree(whole.path, again.path)
    settings |= {"output_dir": again.path, "resume_from_checkpoint": "checkpoint-9"}
    child = run_child(DETERMINISTIC, *flags(**settings), **same_bits)
    assert child.returncode == 0, child.stderr
    assert "Going on from checkpoint-9" in child.stderr
    resumed = weights(again)
    assert resumed.keys() == weights(whole).keys()
    for name, tensor in weights(whole).items():
        assert torch.isfinite(tensor).all(), name
        assert torch.equal(tensor, resumed[name]), name
    # The scale counts its steps since it last changed: it was not begun anew.
    assert scalers(again) == scalers(whole)
    assert len(scalers(whole)) == 2
    assert all(scaler["scale"] > 0 for scaler in scalers(whole))


def last_loss(run: RunDir) -> float:
    return float([e["loss"] for e in run.read_events() if e["type"] == "round"][-1])


def test_bf16_trains_compiled_as_it_does_uncompiled(tmp_path: Path) -> None:
    require_gpu()
    settings = digits(tmp_path / "eager", unet_config(tmp_path), mixed_precision="bf16")
    eager = train(**settings)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = train(**{**settings, "output_dir": tmp_path / "compiled", "torch_compile": True})
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    assert compiled.read_status()["state"] == "done"
    assert all(torch.isfinite(tensor).all() for tensor in weights(compiled).values())
    assert last_loss(compiled) == pytest.approx(last_loss(eager), rel=0.1)


def test_a_compiled_network_has_the_gradients_of_an_uncompiled_one(
    tiny_sd: Path, captioned: Path
) -> None:
    """Of every weight: a compiler may lose those of all that comes before an upsampler."""
    require_gpu()
    placement = Placement(torch.device("cuda"), torch.float32)
    found = []
    for compiled in (False, True):
        torch._dynamo.reset()
        config, facts = looked_up(tiny_sd, captioned, training="full", torch_compile=compiled)
        found.append(gradients(load(config, facts, placement)))
    eager, traced = found
    assert traced.keys() == eager.keys()
    for name, gradient in eager.items():
        assert (traced[name] - gradient).norm() <= 0.01 * gradient.norm() > 0, name


@pytest.mark.parametrize(("precision", "expected"), [("bf16", True), ("no", False)])
@pytest.mark.parametrize("kind", ["pixels", "tiny_sd"])
def test_channels_last_is_the_default_of_bf16_on_a_gpu(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    captioned: Path,
    kind: str,
    precision: str,
    expected: bool,
) -> None:
    require_gpu()
    pixels = kind == "pixels"
    base = ddpm_pipeline(tmp_path / "base", 3) if pixels else request.getfixturevalue(kind)
    config, facts = looked_up(base, captioned, mixed_precision=precision)
    accelerator = make_accelerator(config, RunDir(tmp_path / "run"))
    placement = Placement.of(config, accelerator.device)
    assert placement.device.type == "cuda"
    assert order_of(load(config, facts, placement)) == {expected}


@pytest.mark.parametrize("kind", ["offload", "casting", "int8", "fp8", "nf4"])
def test_a_spared_base_trains_as_on_the_host(tiny_sd: Path, captioned: Path, kind: str) -> None:
    """Copies ahead of their use, and quantized weights, give the gradients of a plain base."""
    require_gpu()
    checkpointed = {"gradient_checkpointing": True}
    settings: dict[str, Any] = {
        "offload": {"enable_group_offload": True, **checkpointed},
        "casting": {"enable_layerwise_casting": True, **checkpointed},
    }.get(kind, {"base_quantization": kind})
    device = torch.device("cuda")
    found = []
    for changes in (settings, checkpointed):
        config, facts = looked_up(tiny_sd, captioned, **changes)
        family = load(config, facts, Placement(device, torch.bfloat16))
        filled(family)
        found.append([gradients(family) for _ in range(2)])  # the second copies ahead
    for step, plain in zip(*found, strict=True):
        for name, gradient in plain.items():
            tolerance = 1e-6 if kind == "offload" else 0.5
            assert (step[name] - gradient).norm() <= tolerance * gradient.norm() > 0, name


def test_text_encoders_are_never_beside_the_network(tiny_sd: Path, captioned: Path) -> None:
    require_gpu()
    config, facts = looked_up(tiny_sd, captioned)
    family: Any = load(config, facts, Placement(torch.device("cuda"), torch.float32))
    text, network = family._parts["text_encoder"], family.network

    def places() -> tuple[str, ...]:
        return tuple(next(part.parameters()).device.type for part in (text, network))

    assert places() == ("cpu", "cuda")
    family.encode_captions(["a cat"])
    assert places() == ("cuda", "cpu")
    family.sample([0], ["a dog"], 1)
    assert places() == ("cpu", "cuda")
