"""What only a GPU can tell: device memory of many shards, and seconds and memory of LoRA steps.

python -m tests.bench.gpu [--only step_sd15 ..] [--models Z-Image ..] --save
Needs a CUDA device, and exits with 2 without one; 24 GB of it, 24 GB of host memory and 10 GB of
temporary disk should do (an estimate), but for the flow-matching models of `--models`: the disk
and the host take each as it is in bf16, Qwen-Image 41 GB. Weights are random: nothing is
downloaded.

- memory_pixels: K = 1, 2 and 8 shards, the same training of a pixel UNet in full. Aim: the same
  peak within 2 %. Two proportions: `activations`, as in configs/cifar10.yaml but without moving
  averages, and `weights`, where the trained state is nearly all there is.
- step_sd15: a bf16 LoRA step on cached encodings over forward and backward of the same UNet, of
  Stable Diffusion 1.5's size, with the same LoRA. Aim: at most 1.1.
- memory_sdxl: K = 8 over K = 1, a LoRA on a UNet of SDXL's size. Aim: within 2 %.
- flow_presets: a LoRA's step at 1024 px by each preset that fits the card: FLUX.1-dev, FLUX.2 klein
  base 4B, Z-Image, Qwen-Image and Stable Diffusion 3.5 medium. Aims: it runs with no more memory
  than the preset names (`fits`), and its peak lies within 15 % of the estimate (`ratio`). Seconds
  have no aim: there is nothing yet to compare them with.
- flow_offload: a LoRA's step without group offloading and with it, all else as in the presets that
  have it, where the card has the memory without. Aim: it saves what the estimate says, within 15 %.
  The seconds that it costs have no aim.
- flow_shards: K = 8 over K = 1, a LoRA on FLUX.2 klein base 4B. Aim: within 2 %.

Network and VAE of the flow-matching models have their true sizes. Their text encoders are as wide
as the true ones, and otherwise small: encodings have their true shapes, and captions are as long as
an encoder takes. Encoders leave the device before the network comes, and the peak that is measured
is that of the steps. Where encoders need more than those (`planned_bytes` over `estimated_bytes`),
that has to be measured with the true ones. nf4 needs bitsandbytes, int8 torchao.

Without a GPU every function runs with `TINY` on the CPU; memory is then None.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from memshield.families.latent import LatentDiffusion
from tests.bench.cached import stepping
from tests.bench.common import arguments_parser, interleaved_medians, report
from tests.bench.gpu_flow import cost_and_saving, flow_shards, preset_steps
from tests.bench.gpu_models import (
    FLOW_MODELS,
    FULL,
    VAE_SCALE,
    PixelCase,
    Size,
    sd_folder,
    sdxl_folder,
)
from tests.bench.gpu_peaks import ROUNDS, STEPS, peaks_of, short_run
from tests.bench.published import family_of
from tests.bench.setting import Setting, set_up
from tests.tiny import image_folder, unet_config

COUNTS = (1, 2, 8)


# Memory


def pixel_memory(size: Size, device: str) -> dict[str, Any]:
    """Peaks of the same pixel training with 1, 2 and 8 shards, in float32."""
    figures: dict[str, Any] = {}
    for name, case in size.pixels.items():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            unet = unet_config(folder, **case.unet)

            def make(
                count: int, folder: Path = folder, unet: Path = unet, case: PixelCase = case
            ) -> Setting:
                return set_up(
                    folder / f"run-{count}",
                    device,
                    model_config_name_or_path=unet,
                    dataset_name="sklearn:digits",
                    max_train_samples=case.pictures,
                    train_batch_size=case.batch,
                    **short_run(count),
                )

            figures[name] = peaks_of(COUNTS, make, device)
    return figures


def sdxl_memory(size: Size, device: str) -> dict[str, Any]:
    """Peaks of the same LoRA training on SDXL with 1 and 8 shards, as configs/sdxl-lora.yaml."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        base = sdxl_folder(folder / "sdxl", size, device)
        side = size.sdxl_unet["sample_size"] * VAE_SCALE
        pictures = image_folder(folder / "pictures", 32, side)

        def make(count: int) -> Setting:
            return set_up(
                folder / f"run-{count}",
                device,
                mixed_precision="bf16",
                pretrained_model_name_or_path=base,
                train_data_dir=pictures,
                train_batch_size=2,
                rank=size.rank,
                gradient_checkpointing=True,
                snr_gamma=5.0,
                **short_run(count),
            )

        return peaks_of((1, 8), make, device)


# Time


def step_over_unet(size: Size, device: str) -> dict[str, float]:
    """Median seconds of a LoRA step and of its UNet's forward and backward alone; the ratio."""
    batch = 4
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["MEMSHIELD_CACHE"] = str(folder / "cache")
        side = size.sd_unet["sample_size"] * VAE_SCALE
        setting = set_up(
            folder / "run",
            device,
            mixed_precision="bf16",
            pretrained_model_name_or_path=sd_folder(folder / "sd", size, device),
            train_data_dir=image_folder(folder / "pictures", 32, side),
            train_batch_size=batch,
            num_shards=1,
            num_rounds=1,
            held_out_fraction=0,
        )
        assert isinstance(setting.setup.family, LatentDiffusion)
        medians = interleaved_medians(
            {
                "step": stepping(setting),
                "unet": forward_and_backward(setting.setup.family, batch, size.tokens),
            },
            size.repeats,
            device,
            warm_up=10,
        )
    return {**medians, "ratio": medians["step"] / medians["unet"]}


def forward_and_backward(family: LatentDiffusion, batch: int, tokens: int) -> Callable[[], object]:
    """What a step cannot do without: the UNet in bf16, and the gradients of its LoRA."""
    unet: Any = family.network
    device, dtype = family.device, family.frozen_dtype
    side, width = unet.config.sample_size, unet.config.cross_attention_dim
    latents = torch.randn(batch, 4, side, side, device=device, dtype=dtype)
    states = torch.randn(batch, tokens, width, device=device, dtype=dtype)
    target = torch.randn(batch, 4, side, side, device=device)
    level = torch.randint(0, family.num_slots, (batch,), device=device)

    def run() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            predicted = unet(latents, level, states, return_dict=False)[0]
        F.mse_loss(predicted.float(), target).backward()
        unet.zero_grad()  # steps that follow would add to these gradients

    return run


PARTS = (
    "memory_pixels",
    "step_sd15",
    "memory_sdxl",
    "flow_presets",
    "flow_offload",
    "flow_shards",
)
SHARDED = "FLUX.2 klein base 4B"


def main() -> int:
    """Measure and report; 2 without a GPU."""
    parser = arguments_parser(__doc__ or "")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--models", nargs="+", choices=FLOW_MODELS, default=FLOW_MODELS)
    options = parser.parse_args()
    if not options.device.startswith("cuda") or not torch.cuda.is_available():
        print("tests.bench.gpu measures a CUDA device, and there is none here.", file=sys.stderr)
        return 2
    device, size = options.device, FULL
    run = {"rounds": ROUNDS, "steps": STEPS}
    if "memory_pixels" in options.only:
        report(
            f"memory_pixels_{device}",
            options,
            {
                **run,
                "activations": "configs/models/cifar-unet.json in grey, batch 128",
                "weights": "100 million weights on 8 px, batch 4",
            },
            **pixel_memory(size, device),
        )
    if "step_sd15" in options.only:
        report(
            f"step_sd15_{device}",
            options,
            {"unet": size.sd_unet, "batch": 4, "precision": "bf16", "lora_rank": 4},
            **step_over_unet(size, device),
        )
    if "memory_sdxl" in options.only:
        unet = {"unet": size.sdxl_unet, "batch": 2, "precision": "bf16", "lora_rank": size.rank}
        report(f"memory_sdxl_{device}", options, {**run, **unet}, **sdxl_memory(size, device))
    for name in options.models:
        model, config = family_of(name), {"model": name, "side": 1024, "lora_rank": 16}
        if "flow_presets" in options.only:
            figures = preset_steps(name, size, device)
            report(f"flow_presets_{model}_{device}", options, config, presets=figures)
        if "flow_offload" in options.only:
            figures = cost_and_saving(name, size, device)
            report(f"flow_offload_{model}_{device}", options, config, **figures)
    if "flow_shards" in options.only:
        figures = flow_shards(SHARDED, size, device)
        report(f"flow_shards_{device}", options, {**run, "model": SHARDED}, **figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
