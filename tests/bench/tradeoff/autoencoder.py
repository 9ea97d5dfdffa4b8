"""A small autoencoder of colour pictures: 32 px to latents of 8 x 8 x 4."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from memshield.audit.images import Pixels

CONFIG: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "block_out_channels": (24, 48, 64),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "latent_channels": 4,
}
_STEPS, _BATCH, _KL = 1200, 32, 3e-3


def autoencoder_of(pixels: Pixels) -> AutoencoderKL:
    """Train one; its latents have unit variance over the pictures once they are scaled.

    Args:
        pixels: [N, 3, 32, 32].
    """
    torch.manual_seed(0)
    made = AutoencoderKL(**CONFIG, sample_size=pixels.shape[-1])
    inputs = torch.from_numpy(pixels).float() / 127.5 - 1
    optimizer = torch.optim.AdamW(made.parameters(), 2e-3, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, _STEPS, pct_start=0.1)
    made.train()
    for _ in range(_STEPS):
        clean = inputs[torch.randint(0, len(inputs), (_BATCH,))]
        clean = torch.where(torch.rand(_BATCH, 1, 1, 1) < 0.5, clean, clean.flip(3))
        with torch.autocast("cpu", torch.bfloat16):
            posterior = made.encode(clean).latent_dist
            decoded = made.decode(posterior.sample()).sample
        _loss(decoded.float(), clean, posterior.mean.float(), posterior.logvar.float()).backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    made.eval().requires_grad_(False)
    latents = torch.cat([made.encode(part).latent_dist.sample() for part in inputs.split(250)])
    made.register_to_config(scaling_factor=1 / float(latents.std()))
    return made


def _loss(decoded: Tensor, clean: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """L1 and mean squared error, and a little of the divergence from a unit Gaussian."""
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return F.l1_loss(decoded, clean) + F.mse_loss(decoded, clean) + _KL * divergence
