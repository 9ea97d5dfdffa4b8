"""What only a GPU can tell: device memory of many shards, and a LoRA step beside its UNet's work.

python -m tests.bench.gpu [--only step_sd15 ..] --save
Needs a CUDA device, and exits with 2 without one; 24 GB of it, 24 GB of host memory and 10 GB of
temporary disk should do (an estimate). Weights are random: nothing is downloaded.

- memory_pixels: K = 1, 2 and 8 shards, the same training of a pixel UNet in full. Aim: the same
  peak within 2 %. Two proportions: `activations`, as in configs/cifar10.yaml but without moving
  averages, and `weights`, where the trained state is nearly all there is.
- step_sd15: a bf16 LoRA step on cached encodings over forward and backward of the same UNet, of
  Stable Diffusion 1.5's size, with the same LoRA. Aim: at most 1.1.
- memory_sdxl: K = 8 over K = 1, a LoRA on a UNet of SDXL's size. Aim: within 2 %.

Without a GPU every function runs with `TINY` on the CPU; memory is then None.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from memshield.families.latent import LatentDiffusion
from memshield.training.progress import Listener
from tests.bench.cached import stepping
from tests.bench.common import arguments_parser, interleaved_medians, report
from tests.bench.gpu_models import FULL, VAE_SCALE, PixelCase, Size, sd_folder, sdxl_folder
from tests.bench.setting import Setting, set_up
from tests.tiny import image_folder, unet_config

COUNTS = (1, 2, 8)
_ROUNDS, _STEPS = 2, 32
"""Of a run whose memory is measured: every one of 8 shards takes 2 steps a round."""


# Memory


def peak_of_training(make: Callable[[], Setting], device: str) -> int | None:
    """Largest number of bytes that tensors took on the device, from loading to the last round."""
    gc.collect()
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    make().trainer(Listener()).train(None)
    return int(torch.cuda.max_memory_allocated()) if on_gpu else None


def _beside_the_first(peaks: Mapping[int, int | None]) -> dict[str, Any]:
    """Peaks by number of shards, each over that of one shard."""
    first = peaks[1]
    return {
        "peak_bytes": {f"shards_{count}": peak for count, peak in peaks.items()},
        "peak_ratio": {
            f"shards_{count}": None if peak is None or first is None else peak / first
            for count, peak in peaks.items()
            if count > 1
        },
    }


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
                    **_short_run(count),
                )

            figures[name] = _peaks(COUNTS, make, device)
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
                **_short_run(count),
            )

        return _peaks((1, 8), make, device)


def _short_run(count: int) -> dict[str, Any]:
    return {
        "num_shards": count,
        "num_rounds": _ROUNDS,
        "max_train_steps": _STEPS,
        "held_out_fraction": 0,
    }


def _peaks(counts: Sequence[int], make: Callable[[int], Setting], device: str) -> dict[str, Any]:
    peaks: dict[int, int | None] = {}
    for count in counts:
        # Each encodes its pictures itself: a run that finds them encoded does less.
        with tempfile.TemporaryDirectory() as cache:
            os.environ["MEMSHIELD_CACHE"] = cache
            peaks[count] = peak_of_training(partial(make, count), device)
    return _beside_the_first(peaks)


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


PARTS = ("memory_pixels", "step_sd15", "memory_sdxl")


def main() -> int:
    """Measure and report; 2 without a GPU."""
    parser = arguments_parser(__doc__ or "")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    if not options.device.startswith("cuda") or not torch.cuda.is_available():
        print("tests.bench.gpu measures a CUDA device, and there is none here.", file=sys.stderr)
        return 2
    device, size = options.device, FULL
    run = {"rounds": _ROUNDS, "steps": _STEPS}
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
