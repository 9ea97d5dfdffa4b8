"""Models for the GPU benchmarks: of true size, or tiny to try the benchmarks on a CPU.

Weights are random, and drawn on the device: nothing is downloaded.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests import tiny_flow
from tests.bench.common import ROOT
from tests.bench.published import MODELS, family_of, random_denoiser
from tests.tiny import UNET_2D, sd_components, sdxl_components

VAE_SCALE = 8
"""Pixels of a picture over those of its latents, per side."""


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
        flow_side: of a flow-matching model's pictures; None is its recipe's.
        flow_networks: what of a flow-matching network is not as published, by family.
        flow_vae: what of their VAEs is not as published; Qwen-Image's has a class of its own.
    """

    pixels: dict[str, PixelCase]
    sd_unet: dict[str, Any]
    sdxl_unet: dict[str, Any]
    sdxl_widths: tuple[int, int]
    tokens: int
    rank: int
    repeats: int
    flow_side: int | None = None
    flow_networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    flow_vae: Mapping[str, Any] = field(default_factory=dict)
    qwen_vae: Mapping[str, Any] = field(default_factory=dict)


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
    flow_side=32,
    flow_networks={
        "stable_diffusion_3": {
            "num_layers": 1, "dual_attention_layers": (), "attention_head_dim": 8,
            "num_attention_heads": 2, "caption_projection_dim": 16,
        },
        "flux": {
            "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
            "num_attention_heads": 2, "axes_dims_rope": (4, 4, 8),
        },
        "flux2_klein": {
            "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
            "num_attention_heads": 2, "axes_dims_rope": (4, 4, 4, 4),
        },
        "z_image": {
            "n_layers": 1, "n_refiner_layers": 1, "dim": 32, "n_heads": 2, "n_kv_heads": 2,
            "axes_dims": (8, 4, 4),
        },
        "qwen_image": {
            "num_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2,
            "axes_dims_rope": (8, 4, 4),
        },
    },
    flow_vae={"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4},
    qwen_vae={"base_dim": 8, "num_res_blocks": 1},
)  # fmt: skip


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


_CLIP_TOKENS = 77
_FLOW_ENCODERS: dict[str, dict[str, dict[str, Any]]] = {
    "stable_diffusion_3": {
        "text_encoder": {"hidden_size": 768, "projection_dim": 768},
        "text_encoder_2": {"hidden_size": 1280, "projection_dim": 1280},
        "text_encoder_3": {"d_model": 4096},
    },
    "flux": {"text_encoder": {"hidden_size": 768}, "text_encoder_2": {"d_model": 4096}},
    "flux2_klein": {"text_encoder": {"hidden_size": 2560}},
    "z_image": {"text_encoder": {"hidden_size": 2560}},
    "qwen_image": {
        "text_encoder": {
            "text_config": {
                "hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4,
                "rope_parameters": {"mrope_section": [16, 24, 24]},
            },
            "vision_config": {"out_hidden_size": 3584},
        }
    },
}  # fmt: skip
"""Widths of the text encoders, as the networks take them."""
FLOW_MODELS = tuple(name for name in MODELS if family_of(name) in _FLOW_ENCODERS)
"""Published flow-matching models, as `tests.bench.published` names them; Krea 2 is not measured."""


def flow_folder(folder: Path, name: str, size: Size) -> Path:
    """A saved pipeline of one of `FLOW_MODELS`, whose network is read as any other is.

    Network and VAE have the published sizes, but for what `size` says. Text encoders have the
    published widths and few layers: what they encode has its true shape.
    """
    family = family_of(name)
    tiny = {"stable_diffusion_3": "sd3"}.get(family, family)
    getattr(tiny_flow, f"{tiny}_pipeline")(folder)
    for part, changes in _FLOW_ENCODERS[family].items():
        _widen(folder / part, changes)
    _replace(folder / "vae", _flow_vae(folder / "vae", size))
    network = random_denoiser(name, **size.flow_networks.get(family, {}))
    _replace(folder / "transformer", network)
    return folder


def _widen(folder: Path, changes: dict[str, Any]) -> None:
    """Give a saved text encoder other widths, and CLIP's the captions of its usual length."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    if config.model_type == "clip_text_model":
        changes = {**changes, "max_position_embeddings": _CLIP_TOKENS}
        tokenizer = folder.with_name(folder.name.replace("text_encoder", "tokenizer"))
        transformers.CLIPTokenizer.from_pretrained(
            tokenizer, model_max_length=_CLIP_TOKENS
        ).save_pretrained(tokenizer)
    kind = getattr(transformers, config.architectures[0])
    wider = type(config).from_dict(_merged(config.to_dict(), changes))
    _replace(folder, kind(wider).to(torch.bfloat16))


def _merged(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values with changes at any depth."""
    deeper = {
        name: _merged(values[name], value) if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return {**values, **deeper}


def _flow_vae(folder: Path, size: Size) -> Any:
    """The VAE of the published models, whose latents are scaled as those of the one in `folder`."""
    import diffusers

    small = json.loads((folder / "config.json").read_text())
    kind = getattr(diffusers, small["_class_name"])
    if kind is diffusers.AutoencoderKLQwenImage:
        return kind(**size.qwen_vae)
    changes = {
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "latent_channels": 32 if kind is diffusers.AutoencoderKLFlux2 else 16,
    }
    return kind.from_config({**small, **changes, **size.flow_vae})


def _replace(folder: Path, model: Any) -> None:
    shutil.rmtree(folder)
    model.save_pretrained(folder)


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
        sample_size=latent_side * VAE_SCALE,
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
