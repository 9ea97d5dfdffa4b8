"""The usual training scripts of flow-matching models, written out plainly on stock pipelines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.training_utils import (
    compute_density_for_timestep_sampling,
    compute_loss_weighting_for_sd3,
)
from torch import Tensor

Loss = Callable[[Any, Tensor, Sequence[str], torch.Generator], Tensor]
"""(stock pipeline, pixels in [-1, 1], captions, generator) -> the loss of each sample."""


def noised(pipeline: Any, clean: Tensor, generator: torch.Generator, scheme: str) -> Any:
    """(noise, timesteps, sigmas, noisy latents) of a batch."""
    scheduler = pipeline.scheduler
    noise = torch.randn(clean.shape, generator=generator)
    u = compute_density_for_timestep_sampling(
        scheme, len(clean), logit_mean=0.0, logit_std=1.0, mode_scale=1.29, generator=generator
    )
    indices = (u * scheduler.config.num_train_timesteps).long()
    timesteps = scheduler.timesteps[indices]
    sigmas = scheduler.sigmas[indices].reshape(-1, 1, 1, 1)
    return noise, timesteps, sigmas, (1.0 - sigmas) * clean + sigmas * noise


def latents(pipeline: Any, pixels: Tensor, generator: torch.Generator, sampled: bool) -> Tensor:
    """Latents of an AutoencoderKL, shifted and scaled."""
    found = pipeline.vae.encode(pixels).latent_dist
    drawn: Tensor = found.sample(generator) if sampled else found.mode()
    vae = pipeline.vae.config
    scaled: Tensor = (drawn - vae.shift_factor) * vae.scaling_factor
    return scaled


def weighted(scheme: str, sigmas: Tensor, prediction: Tensor, target: Tensor) -> Tensor:
    """The weighted mean squared error of each sample."""
    weighting = compute_loss_weighting_for_sd3(scheme, sigmas)
    error: Tensor = weighting.float() * (prediction.float() - target.float()) ** 2
    return error.reshape(len(target), -1).mean(1)


def sd3(
    pipeline: Any,
    pixels: Tensor,
    captions: Sequence[str],
    generator: torch.Generator,
    scheme: str = "logit_normal",
) -> Tensor:
    """train_dreambooth_lora_sd3.py, with its precondition_outputs."""
    text, _, pooled, _ = pipeline.encode_prompt(
        list(captions), None, None, do_classifier_free_guidance=False, max_sequence_length=77
    )
    clean = latents(pipeline, pixels, generator, sampled=True)
    _, timesteps, sigmas, noisy = noised(pipeline, clean, generator, scheme)
    predicted = pipeline.transformer(
        hidden_states=noisy, timestep=timesteps, encoder_hidden_states=text,
        pooled_projections=pooled, return_dict=False,
    )[0]  # fmt: skip
    return weighted(scheme, sigmas, predicted * (-sigmas) + noisy, clean)


def flux(
    pipeline: Any, pixels: Tensor, captions: Sequence[str], generator: torch.Generator
) -> Tensor:
    """train_dreambooth_lora_flux.py, with --guidance_scale 1."""
    text, pooled, text_ids = pipeline.encode_prompt(list(captions), None)
    clean = latents(pipeline, pixels, generator, sampled=True)
    noise, timesteps, sigmas, noisy = noised(pipeline, clean, generator, "none")
    count, channels, height, width = clean.shape
    image_ids = pipeline._prepare_latent_image_ids(
        count, height // 2, width // 2, noisy.device, noisy.dtype
    )
    packed = pipeline.transformer(
        hidden_states=pipeline._pack_latents(noisy, count, channels, height, width),
        timestep=timesteps / 1000, guidance=torch.tensor([1.0]).expand(count),
        pooled_projections=pooled, encoder_hidden_states=text, txt_ids=text_ids,
        img_ids=image_ids, return_dict=False,
    )[0]  # fmt: skip
    scale = pipeline.vae_scale_factor
    predicted = pipeline._unpack_latents(packed, height * scale, width * scale, scale)
    return weighted("none", sigmas, predicted, noise - clean)


def z_image(
    pipeline: Any, pixels: Tensor, captions: Sequence[str], generator: torch.Generator
) -> Tensor:
    """train_dreambooth_lora_z_image.py."""
    text, _ = pipeline.encode_prompt(list(captions), do_classifier_free_guidance=False)
    clean = latents(pipeline, pixels, generator, sampled=False)
    noise, timesteps, sigmas, noisy = noised(pipeline, clean, generator, "none")
    found = pipeline.transformer(
        list(noisy.unsqueeze(2).unbind(dim=0)), (1000 - timesteps) / 1000, text, return_dict=False
    )[0]
    return weighted("none", sigmas, -torch.stack(found).squeeze(2), noise - clean)


def first_frames(pipeline: Any, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Latents of an AutoencoderKLQwenImage, normalised."""
    vae = pipeline.vae.config
    mean = torch.tensor(vae.latents_mean).view(1, vae.z_dim, 1, 1, 1)
    scale = 1.0 / torch.tensor(vae.latents_std).view(1, vae.z_dim, 1, 1, 1)
    video = pipeline.vae.encode(pixels.unsqueeze(2)).latent_dist.sample(generator)
    frames: Tensor = ((video - mean) * scale)[:, :, 0]
    return frames


def qwen_image(
    pipeline: Any, pixels: Tensor, captions: Sequence[str], generator: torch.Generator
) -> Tensor:
    """train_dreambooth_lora_qwen_image.py."""
    text, mask = pipeline.encode_prompt(list(captions), max_sequence_length=512)
    clean = first_frames(pipeline, pixels, generator)
    noise, timesteps, sigmas, noisy = noised(pipeline, clean, generator, "none")
    count, channels, height, width = clean.shape
    packed = pipeline.transformer(
        hidden_states=pipeline._pack_latents(noisy, count, channels, height, width),
        encoder_hidden_states=text, encoder_hidden_states_mask=mask, timestep=timesteps / 1000,
        img_shapes=[(1, height // 2, width // 2)] * count, return_dict=False,
    )[0]  # fmt: skip
    size = pipeline.vae_scale_factor
    predicted = pipeline._unpack_latents(packed, height * size, width * size, size)[:, :, 0]
    return weighted("none", sigmas, predicted, noise - clean)


def flux2_klein(
    pipeline: Any, pixels: Tensor, captions: Sequence[str], generator: torch.Generator
) -> Tensor:
    """train_dreambooth_lora_flux2_klein.py."""
    text, text_ids = pipeline.encode_prompt(list(captions))
    norm, epsilon = pipeline.vae.bn, pipeline.vae.config.batch_norm_eps
    mean = norm.running_mean.view(1, -1, 1, 1)
    deviation = torch.sqrt(norm.running_var.view(1, -1, 1, 1) + epsilon)
    clean = pipeline._patchify_latents(pipeline.vae.encode(pixels).latent_dist.mode())
    clean = (clean - mean) / deviation
    noise, timesteps, sigmas, noisy = noised(pipeline, clean, generator, "none")
    image_ids = pipeline._prepare_latent_ids(clean)
    packed = pipeline.transformer(
        hidden_states=pipeline._pack_latents(noisy), timestep=timesteps / 1000, guidance=None,
        encoder_hidden_states=text, txt_ids=text_ids, img_ids=image_ids, return_dict=False,
    )[0]  # fmt: skip
    predicted = pipeline._unpack_latents_with_ids(packed, image_ids)
    return weighted("none", sigmas, predicted, noise - clean)


def krea2(
    pipeline: Any, pixels: Tensor, captions: Sequence[str], generator: torch.Generator
) -> Tensor:
    """train_dreambooth_lora_krea2.py."""
    text, mask = pipeline.encode_prompt(list(captions), max_sequence_length=512)
    clean = first_frames(pipeline, pixels, generator)
    noise, timesteps, sigmas, noisy = noised(pipeline, clean, generator, "none")
    count, channels, height, width = clean.shape
    places = pipeline.prepare_position_ids(text.shape[1], height // 2, width // 2, noisy.device)
    packed = pipeline.transformer(
        hidden_states=pipeline._pack_latents(noisy, count, channels, height, width),
        encoder_hidden_states=text, timestep=timesteps / 1000, position_ids=places,
        encoder_attention_mask=mask, return_dict=False,
    )[0]  # fmt: skip
    size = pipeline.vae_scale_factor
    predicted = pipeline._unpack_latents(packed, height * size, width * size)[:, :, 0]
    return weighted("none", sigmas, predicted, noise - clean)


SCRIPTS: dict[str, Loss] = {
    "tiny_sd3": sd3,
    "tiny_flux": flux,
    "tiny_z_image": z_image,
    "tiny_qwen_image": qwen_image,
    "tiny_flux2_klein": flux2_klein,
    "tiny_krea2": krea2,
}
"""By the fixture of a small pipeline of the family."""
