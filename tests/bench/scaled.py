"""A Stable Diffusion of SD 1.5's proportions, small enough for a CPU.

Forward work of the real one, of a picture of 512 px and 77 tokens, counted by torch's
FlopCounterMode: UNet 803 GFLOP, VAE encoder 1117, text encoder 13.3, or 1 : 1.39 : 0.017.

The scaled one takes pictures of 128 px. Blocks, layers and heads of UNet and VAE are SD 1.5's.
Widths were chosen so that forward times, not counts, stand in about that proportion on a CPU,
which spends much of its time on small layers in starting them: a fifth of the UNet's, a quarter
of the VAE's, and a text encoder of 4 layers and 16 tokens. Between runs, and within one, the
VAE's share varies from 1.1 to 1.6 of the UNet, since its large activations hang on how memory
is had; what it was is a part of every result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from memshield.families.latent import LatentDiffusion
from tests.bench.common import interleaved_medians

SIDE = 128
"""Pixels of a picture."""
REAL_PARAMETERS = {"unet": 859.5e6, "vae_encoder": 34.2e6, "text_encoder": 123.1e6}
REAL_GFLOP = {"unet": 803.3, "vae_encoder": 1116.7, "text_encoder": 13.3}
TEXT_WIDTH, TEXT_LAYERS = 128, 4


def scaled_sd(folder: Path) -> Path:
    """A saved Stable Diffusion pipeline with random weights."""
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextModel

    from tests.tiny import sd_components

    parts = sd_components()
    torch.manual_seed(0)
    text = parts["text_encoder"].config
    text.update(
        {
            "hidden_size": TEXT_WIDTH,
            "intermediate_size": 4 * TEXT_WIDTH,
            "num_hidden_layers": TEXT_LAYERS,
            "num_attention_heads": TEXT_WIDTH // 16,
        }
    )
    parts |= {
        "text_encoder": CLIPTextModel(text),
        "vae": AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(32, 64, 128, 128),
            layers_per_block=2,
            norm_num_groups=16,
            latent_channels=4,
            sample_size=SIDE,
        ),
        # Blocks, layers and heads are the defaults of the class, which are SD 1.5's.
        "unet": UNet2DConditionModel(
            sample_size=SIDE // 8,
            block_out_channels=(64, 128, 256, 256),
            norm_num_groups=16,
            attention_head_dim=8,
            cross_attention_dim=TEXT_WIDTH,
        ),
        "scheduler": PNDMScheduler.from_config(parts["scheduler"].config, num_train_timesteps=1000),
    }
    StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    ).save_pretrained(folder)
    return folder


def proportions(family: LatentDiffusion, batch: int, device: str) -> dict[str, Any]:
    """Parameters and forward seconds of a scaled model's parts, and the real ones' work."""
    vae, text = family.vae, family._parts["text_encoder"]
    unet: Any = family.network
    side, tokens = SIDE // 8, text.config.max_position_embeddings
    latents = torch.zeros(batch, 4, side, side, device=device)
    pixels = torch.zeros(batch, 3, SIDE, SIDE, device=device)
    ids = torch.zeros(batch, tokens, dtype=torch.int64, device=device)
    level = torch.zeros(batch, dtype=torch.int64, device=device)
    states = torch.zeros(batch, tokens, TEXT_WIDTH, device=device)
    unet.disable_adapters()  # a LoRA of real proportions adds next to nothing
    with torch.no_grad():
        seconds = interleaved_medians(
            {
                "unet": lambda: unet(latents, level, states),
                "vae_encoder": lambda: vae.encode(pixels),
                "text_encoder": lambda: text(ids),
            },
            7,
            device,
        )
    unet.enable_adapters()
    modules = {"unet": unet, "vae_encoder": vae.encoder, "text_encoder": text}
    real = REAL_GFLOP["unet"]
    return {
        "parameters": {
            name: sum(p.numel() for p in module.parameters() if not p.requires_grad)
            for name, module in modules.items()
        },
        "sd15_parameters": REAL_PARAMETERS,
        "forward_seconds": seconds,
        "forward_over_unet": {name: value / seconds["unet"] for name, value in seconds.items()},
        "sd15_gflop_over_unet": {name: value / real for name, value in REAL_GFLOP.items()},
    }
