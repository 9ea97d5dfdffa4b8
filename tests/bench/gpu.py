"""What only a GPU can tell: device memory of many shards, and a LoRA step beside its UNet's work.

python -m tests.bench.gpu --save
Needs a CUDA device, and exits with 2 without one; 24 GB of it, 24 GB of host memory and 10 GB of
temporary disk should do (an estimate). Weights are random: nothing is downloaded.

- memory_pixels: K = 1, 2 and 8 shards, the same training of a pixel UNet in full. Aim: the same
  peak within 2 %. Two proportions: `activations`, as in configs/cifar10.yaml but without moving
  averages, and `weights`, where the trained state is nearly all there is. Once K > 1 the running
  sum of the proxies counts too: one copy of the weights, whatever K is.
- step_sd15: a bf16 LoRA step on cached encodings over forward and backward of the same UNet, of
  Stable Diffusion 1.5's size, with the same LoRA. Aim: at most 1.1.
- memory_sdxl: K = 8 over K = 1, a LoRA on a UNet of SDXL's size. Aim: within 2 %.

Without a GPU every function runs with `TINY` on the CPU; memory is then None.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from memshield.config import make_config
from memshield.families import load
from memshield.families.base import Placement
from memshield.families.latent import LatentDiffusion
from memshield.progress import Listener
from memshield.ranks import Ranks
from memshield.rundir import EventLog, RunDir
from memshield.start import lead, make_encoder
from memshield.stop import StopRequest
from tests.bench.cached import stepping
from tests.bench.common import ROOT, arguments, interleaved_medians, report
from tests.bench.setting import Setting, set_up
from tests.tiny import UNET_2D, image_folder, sd_components, sdxl_components, unet_config

COUNTS = (1, 2, 8)
_VAE_SCALE = 8
_ROUNDS, _STEPS = 2, 32
"""Of a run whose memory is measured: every one of 8 shards takes 2 steps a round."""


@dataclass(frozen=True)
class PixelCase:
    """A pixel model and how it is trained.

    Attributes:
        unet: config of a UNet2DModel of grey pictures.
        batch: pictures a step.
        pictures: of the training set; an eighth of them must fill a batch.
    """

    unet: dict[str, Any]
    batch: int
    pictures: int


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Attributes:
        pixels: pixel models by name.
        sd_unet, sdxl_unet: configs of UNet2DConditionModels, as far as they are not its defaults.
        sdxl_widths: of SDXL's two text encoders.
        tokens: of a caption.
        rank: of SDXL's LoRA.
        repeats: timed steps.
    """

    pixels: dict[str, PixelCase]
    sd_unet: dict[str, Any]
    sdxl_unet: dict[str, Any]
    sdxl_widths: tuple[int, int]
    tokens: int
    rank: int
    repeats: int


def _grey(**config: Any) -> dict[str, Any]:
    return {**config, "in_channels": 1, "out_channels": 1}


def _cifar_unet() -> dict[str, Any]:
    return dict(json.loads((ROOT / "configs/models/cifar-unet.json").read_text()))


FULL = Size(
    pixels={
        "activations": PixelCase(_grey(**_cifar_unet()), 128, 1600),
        # 100 million weights on 8 px pictures.
        "weights": PixelCase(
            {**UNET_2D, "block_out_channels": [384, 768], "attention_head_dim": 64}, 4, 64
        ),
    },
    # What is not said is the default of the class, which is SD 1.5's.
    sd_unet={"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    # unet/config.json of stabilityai/stable-diffusion-xl-base-1.0.
    sdxl_unet={
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "use_linear_projection": True,
        "cross_attention_dim": 2048,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 1280 + 6 * 256,
    },
    sdxl_widths=(768, 1280),
    tokens=77,
    rank=16,
    repeats=50,
)
TINY = Size(
    pixels={
        "activations": PixelCase(dict(UNET_2D), 8, 128),
        "weights": PixelCase(dict(UNET_2D), 1, 64),
    },
    sd_unet={
        "sample_size": 8,
        "block_out_channels": (16, 16, 16, 16),
        "norm_num_groups": 8,
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
    },
    sdxl_unet={
        **FULL.sdxl_unet,
        "sample_size": 8,
        "block_out_channels": (8, 16, 16),
        "norm_num_groups": 4,
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": (1, 2, 2),
        "cross_attention_dim": 24 + 40,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 40 + 6 * 8,
    },
    sdxl_widths=(24, 40),
    tokens=16,
    rank=4,
    repeats=3,
)


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
        side = size.sdxl_unet["sample_size"] * _VAE_SCALE
        pictures = image_folder(folder / "pictures", 32, side)

        def make(count: int) -> Setting:
            return set_up_in_bf16(
                folder / f"run-{count}",
                device,
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
        side = size.sd_unet["sample_size"] * _VAE_SCALE
        setting = set_up_in_bf16(
            folder / "run",
            device,
            pretrained_model_name_or_path=sd_folder(folder / "sd", size, device),
            train_data_dir=image_folder(folder / "pictures", 32, side),
            train_batch_size=batch,
            num_shards=1,
            num_rounds=1,
            held_out_fraction=0,
        )
        assert isinstance(setting.family, LatentDiffusion)
        medians = interleaved_medians(
            {
                "step": stepping(setting),
                "unet": forward_and_backward(setting.family, batch, size.tokens),
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


# Models


def set_up_in_bf16(folder: Path, device: str, **settings: Any) -> Setting:
    """As `set_up`, but in bf16 as memshield.train would: frozen weights are held in it too."""
    values = {
        name: str(value) if isinstance(value, Path) else value for name, value in settings.items()
    }
    config = make_config(
        {"mixed_precision": "bf16", "num_validation_images": 0, "output_dir": str(folder), **values}
    )
    run = RunDir(folder)
    run.path.mkdir(parents=True)
    job = lead(config, run, EventLog(run, 1))
    family = load(job.config, job.facts, Placement.of(job.config, torch.device(device)))
    begun = time.perf_counter()
    reader, encoder = make_encoder(job, family, Ranks(StopRequest()))
    return Setting(job, run, family, reader, encoder, time.perf_counter() - begun)


def sd_folder(folder: Path, size: Size, device: str) -> Path:
    """A saved Stable Diffusion with a UNet of this size; the rest of it is small."""
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    parts = sd_components()
    width = size.sd_unet["cross_attention_dim"]
    parts |= {
        "text_encoder": _text_encoder(parts["text_encoder"], width, size.tokens),
        "vae": _vae(size.sd_unet["sample_size"]),
        "unet": _unet(device, size.sd_unet),
        "scheduler": PNDMScheduler.from_config(parts["scheduler"].config, num_train_timesteps=1000),
    }
    parts["tokenizer"].model_max_length = size.tokens
    StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    ).save_pretrained(folder)
    return folder


def sdxl_folder(folder: Path, size: Size, device: str) -> Path:
    """A saved Stable Diffusion XL with a UNet of this size; the rest of it is small."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    parts = sdxl_components()
    first, second = size.sdxl_widths
    parts |= {
        "text_encoder": _text_encoder(parts["text_encoder"], first, size.tokens),
        "text_encoder_2": _text_encoder(
            parts["text_encoder_2"], second, size.tokens, projection_dim=second
        ),
        "vae": _vae(size.sdxl_unet["sample_size"]),
        "unet": _unet(device, size.sdxl_unet),
        "scheduler": EulerDiscreteScheduler.from_config(
            parts["scheduler"].config, num_train_timesteps=1000
        ),
    }
    for name in ("tokenizer", "tokenizer_2"):
        parts[name].model_max_length = size.tokens
    StableDiffusionXLPipeline(**parts).save_pretrained(folder)
    return folder


def _text_encoder(small: Any, width: int, tokens: int, **changes: Any) -> Any:
    """A CLIP text encoder of this width, and of as few layers as the small one."""
    config = small.config
    config.update(
        {
            "hidden_size": width,
            "intermediate_size": width,
            "num_attention_heads": max(1, width // 64),
            "max_position_embeddings": tokens,
            **changes,
        }
    )
    return type(small)(config).eval()


def _vae(latent_side: int) -> Any:
    """A narrow VAE that scales as Stable Diffusion's does."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=latent_side * _VAE_SCALE,
    ).eval()


def _unet(device: str, config: dict[str, Any]) -> Any:
    """Random weights, drawn on the device in bf16: billions of them would take a CPU minutes."""
    from diffusers import UNet2DConditionModel

    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return UNet2DConditionModel(**config)
    finally:
        torch.set_default_dtype(before)


def main() -> int:
    """Measure and report; 2 without a GPU."""
    options = arguments(__doc__ or "")
    if not options.device.startswith("cuda") or not torch.cuda.is_available():
        print("tests.bench.gpu measures a CUDA device, and there is none here.", file=sys.stderr)
        return 2
    device, size = options.device, FULL
    run = {"rounds": _ROUNDS, "steps": _STEPS}
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
    report(
        f"step_sd15_{device}",
        options,
        {"unet": size.sd_unet, "batch": 4, "precision": "bf16", "lora_rank": 4},
        **step_over_unet(size, device),
    )
    report(
        f"memory_sdxl_{device}",
        options,
        {**run, "unet": size.sdxl_unet, "batch": 2, "precision": "bf16", "lora_rank": size.rank},
        **sdxl_memory(size, device),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
