"""Complete diffusers pipelines of a few kilobytes, and small sets of pictures, built in code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

Pixels = npt.NDArray[np.uint8]

UNET_2D: dict[str, Any] = {
    "_class_name": "UNet2DModel",
    "sample_size": 8,
    "layers_per_block": 1,
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "norm_num_groups": 4,
    "attention_head_dim": 4,
}


def unet_config(folder: Path, channels: int = 1, **changes: Any) -> Path:
    """A config.json of a small UNet2DModel."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    config = {**UNET_2D, "in_channels": channels, "out_channels": channels, **changes}
    path.write_text(json.dumps(config))
    return path


def ddpm_pipeline(folder: Path, channels: int = 1, kind: str = "DDPMPipeline") -> Path:
    """A saved DDPM or DDIM pipeline."""
    import diffusers

    torch.manual_seed(0)
    unet = diffusers.UNet2DModel.from_config(
        {**UNET_2D, "in_channels": channels, "out_channels": channels}
    )
    scheduler_class = "DDPMScheduler" if kind == "DDPMPipeline" else "DDIMScheduler"
    scheduler = getattr(diffusers, scheduler_class)(num_train_timesteps=100)
    getattr(diffusers, kind)(unet=unet, scheduler=scheduler).save_pretrained(folder)
    return folder


def sd_components(prediction_type: str = "epsilon") -> dict[str, Any]:
    """The parts of a small Stable Diffusion: 8 px latents, 16 px pictures."""
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    words = sorted(ByteLevel.alphabet())
    words += [f"{word}</w>" for word in words] + ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=16
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=16,
            bos_token_id=len(words) - 2,
            eos_token_id=len(words) - 1,
            pad_token_id=len(words) - 1,
        )
    )
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(8, 16),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=16,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
    )
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        num_train_timesteps=100,
        steps_offset=1,
        prediction_type=prediction_type,
    )
    return {
        "tokenizer": tokenizer,
        "text_encoder": text_encoder.eval(),
        "vae": vae.eval(),
        "unet": unet.eval(),
        "scheduler": scheduler,
    }


def sd_pipeline(folder: Path, prediction_type: str = "epsilon") -> Path:
    """A saved Stable Diffusion pipeline without a safety checker."""
    from diffusers import StableDiffusionPipeline

    StableDiffusionPipeline(
        **sd_components(prediction_type),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def pictures(count: int, size: int = 16, channels: int = 3, seed: int = 0) -> list[Pixels]:
    """Distinct smooth pictures, uint8 [H, W, C] or [H, W]."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        coarse = generator.integers(0, 256, (4, 4, channels), dtype=np.uint8)
        image = Image.fromarray(coarse[:, :, 0] if channels == 1 else coarse)
        found.append(np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)))
    return found


def image_folder(
    folder: Path,
    count: int = 24,
    size: int = 16,
    captions: Sequence[str] | bool = True,
    channels: int = 3,
    width: int | None = None,
) -> Path:
    """A folder of PNG files, with a metadata.jsonl where captions are wanted.

    A `width` other than `size` makes pictures that have to be cropped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i, pixels in enumerate(pictures(count, size, channels)):
        image = Image.fromarray(pixels).resize((width or size, size))
        image.save(folder / f"{i:04d}.png")
        text = captions[i] if isinstance(captions, Sequence) else f"picture number {i}"
        lines.append(json.dumps({"file_name": f"{i:04d}.png", "text": text}))
    if captions is not False:
        (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder
