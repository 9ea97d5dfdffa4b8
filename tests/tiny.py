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
UNET_CONDITION: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 4,
}
SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 100,
    "steps_offset": 1,
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
    from diffusers import PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel

    torch.manual_seed(0)
    return {
        "tokenizer": _tokenizer(),
        "text_encoder": CLIPTextModel(_text_config()).eval(),
        "vae": _vae().eval(),
        "unet": UNet2DConditionModel(
            **UNET_CONDITION,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=16,
        ).eval(),
        "scheduler": PNDMScheduler(
            **SCHEDULE, skip_prk_steps=True, prediction_type=prediction_type
        ),
    }


def sdxl_components(**vae: Any) -> dict[str, Any]:
    """The parts of a small Stable Diffusion XL: 8 px latents, 16 px pictures.

    Args:
        vae: settings of its VAE, such as force_upcast.
    """
    from diffusers import EulerDiscreteScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    pooled, time_ids, time_width = 12, 6, 8
    return {
        "tokenizer": _tokenizer(),
        "tokenizer_2": _tokenizer(pad_token="!</w>"),
        "text_encoder": CLIPTextModel(_text_config()).eval(),
        "text_encoder_2": CLIPTextModelWithProjection(
            _text_config(hidden_size=24, hidden_act="gelu", projection_dim=pooled)
        ).eval(),
        "vae": _vae(**vae).eval(),
        "unet": UNet2DConditionModel(
            **UNET_CONDITION,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
            cross_attention_dim=16 + 24,
            addition_embed_type="text_time",
            addition_time_embed_dim=time_width,
            projection_class_embeddings_input_dim=pooled + time_ids * time_width,
        ).eval(),
        "scheduler": EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="leading"),
    }


def _words() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    words = sorted(ByteLevel.alphabet())
    return [*words, *(f"{word}</w>" for word in words), "<|startoftext|>", "<|endoftext|>"]


def _tokenizer(**settings: Any) -> Any:
    from transformers import CLIPTokenizer

    vocabulary = {word: i for i, word in enumerate(_words())}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=16, **settings)


def _text_config(**changes: Any) -> Any:
    from transformers import CLIPTextConfig

    count = len(_words())
    settings = {
        "vocab_size": count,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
        "bos_token_id": count - 2,
        "eos_token_id": count - 1,
        "pad_token_id": count - 1,
    }
    return CLIPTextConfig(**{**settings, **changes})


def _vae(**changes: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(8, 16),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=16,
        **changes,
    )


def small_vae(levels: int) -> Any:
    """A narrow VAE that halves a picture's side as often as it has levels, less one."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(8,) * levels,
        norm_num_groups=4,
        latent_channels=4,
    ).eval()


def text_config(width: int, **changes: Any) -> Any:
    """Of a shallow CLIP text encoder with embeddings of this width."""
    return _text_config(hidden_size=width, num_hidden_layers=1, **changes)


def sd_pipeline(
    folder: Path, prediction_type: str = "epsilon", has_safety_checker: bool = False
) -> Path:
    """A saved Stable Diffusion pipeline; that of 1.x has a safety checker."""
    from diffusers import StableDiffusionPipeline

    checker, extractor = _safety_checker() if has_safety_checker else (None, None)
    StableDiffusionPipeline(
        **sd_components(prediction_type),
        safety_checker=checker,
        feature_extractor=extractor,
        requires_safety_checker=has_safety_checker,
    ).save_pretrained(folder)
    return folder


def _safety_checker() -> tuple[Any, Any]:
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    vision = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 16, "patch_size": 8,
    }  # fmt: skip
    config = CLIPConfig(vision_config=vision, projection_dim=8)
    processor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16)
    return StableDiffusionSafetyChecker(config).eval(), processor


def sdxl_pipeline(folder: Path, **vae: Any) -> Path:
    """A saved Stable Diffusion XL pipeline; `vae` as in `sdxl_components`."""
    from diffusers import StableDiffusionXLPipeline

    StableDiffusionXLPipeline(**sdxl_components(**vae)).save_pretrained(folder)
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
