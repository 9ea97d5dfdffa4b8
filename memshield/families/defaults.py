"""Settings whose default depends on the model, and settings that contradict it."""

from __future__ import annotations

from typing import Any

from memshield.config.file import Config
from memshield.config.memory import contradiction
from memshield.errors import UserError
from memshield.families.buckets import checked_text
from memshield.families.facts import Facts
from memshield.families.kinds import FLOW

TEXT_ONLY = ("proportion_empty_prompts", "validation_prompts", "caption_column")
PIXELS_ONLY = ("augment_probability", "dropout")
FLOW_ONLY = ("weighting_scheme", "guidance_scale", "max_sequence_length")
OF_SCHEMES = {"logit_mean": "logit_normal", "logit_std": "logit_normal", "mode_scale": "mode"}
"""Settings of one `weighting_scheme` alone, by their names."""
DDPM_ONLY = ("prediction_type", "snr_gamma", "noise_offset")
FROM_SCRATCH = {"ddpm_num_steps": "num_train_timesteps", "ddpm_beta_schedule": "beta_schedule"}
"""Settings of a model from scratch alone, and what they are in the scheduler of a base."""
VAE_ONLY = ("pretrained_vae_model_name_or_path", "enable_vae_slicing", "enable_vae_tiling")


def resolve(config: Config, facts: Facts) -> Config:
    """Fill in the settings whose default depends on the model.

    Raises:
        UserError: a setting that contradicts the model.
    """
    text = facts.needs_captions
    # K copies of a text model's moments fill the host's memory; a LoRA's cannot be kept at all.
    shard_optimizer = "reset" if text and config.num_shards > 1 else "keep"
    update: dict[str, Any] = {
        "training": config.training or ("lora" if text else "full"),
        "resolution": config.resolution or facts.resolution,
        "aspect_ratio_buckets": checked_text(config, facts),
        "lora_alpha": config.lora_alpha or float(config.rank),
        "skip_threshold": (0.8 if text else 0.5)
        if config.skip_threshold is None
        else config.skip_threshold,
        "loss_bank_bins": config.loss_bank_bins or facts.num_train_timesteps,
        "shard_optimizer": config.shard_optimizer or shard_optimizer,
        "num_validation_images": (4 if text else 16)
        if config.num_validation_images is None
        else config.num_validation_images,
    }
    if facts.family in FLOW:
        kind = FLOW[facts.family]
        update["weighting_scheme"] = config.weighting_scheme or kind.weighting_scheme
        update["max_sequence_length"] = config.max_sequence_length or kind.max_sequence_length
        if facts.network.get("guidance_embeds"):
            given = config.guidance_scale
            update["guidance_scale"] = 1.0 if given is None else given
    if facts.repository is not None and facts.repository.revision is not None:
        update["revision"] = facts.repository.revision
    resolved = config.model_copy(update=update)
    _refuse_contradictions(resolved, facts)
    return resolved


def _refuse_contradictions(config: Config, facts: Facts) -> None:
    lora = config.training == "lora"
    if config.hub_lora_format is not None and not lora:
        raise UserError(
            "hub_lora_format", "only a LoRA is written for other tools", "Leave it out."
        )
    if lora and not facts.needs_captions:
        raise UserError("training", "pixel models are trained in full", "Set training to full.")
    if lora and config.use_ema:
        raise UserError(
            "use_ema", "a moving average is kept for full training only", "Leave it out."
        )
    if lora:
        for name, plain in (("outer_learning_rate", 1.0), ("outer_momentum", 0.0)):
            if getattr(config, name) != plain:
                raise UserError(
                    name,
                    "the outer optimizer is for full training: a LoRA's mean has another basis",
                    "Leave it out.",
                )
    if lora and config.num_shards > 1 and config.shard_optimizer == "keep":
        raise UserError(
            "shard_optimizer",
            "the averaged LoRA has another basis, so moments cannot be kept between rounds",
            "Set it to reset.",
        )
    if facts.family != "unconditional":
        for name in PIXELS_ONLY:
            if getattr(config, name):
                raise UserError(
                    name,
                    "this model denoises latents and takes no labels of what was done to a "
                    "picture: this is for pixel models",
                    "Leave it out.",
                )
    if not facts.needs_captions:
        for names, problem in (
            (TEXT_ONLY, "this model is not conditioned on text"),
            (VAE_ONLY, "this model has no VAE"),
        ):
            for name in names:
                if getattr(config, name):
                    raise UserError(name, problem, "Leave it out.")
    _refuse_other_objectives(config, facts)
    _refuse_other_schedules(config, facts)
    if (config.loss_bank_bins or 0) > facts.num_train_timesteps:
        raise UserError(
            "loss_bank_bins",
            f"{config.loss_bank_bins} slots for {facts.num_train_timesteps} noise levels",
            "Give at most one slot a level.",
        )
    is_watched = config.watches or bool(config.watch_fraction)
    if is_watched and config.watch_bins > facts.num_train_timesteps:
        raise UserError(
            "watch_bins",
            f"{config.watch_bins} bands for {facts.num_train_timesteps} noise levels",
            "Give at most one band a level.",
        )
    found = contradiction(config)
    if found is not None:
        raise found
    _refuse_overflow(config, facts)


def _refuse_other_objectives(config: Config, facts: Facts) -> None:
    flow = FLOW.get(facts.family)
    names, problem = (
        (FLOW_ONLY, "this is for models that are trained by flow matching")
        if flow is None
        else (DDPM_ONLY, "this model is trained by flow matching, which has no such thing")
    )
    for name in names:
        if getattr(config, name):
            raise UserError(name, problem, "Leave it out.")
    for name, scheme in OF_SCHEMES.items():
        given = getattr(config, name) != Config.model_fields[name].default
        if given and config.weighting_scheme != scheme:
            raise UserError(
                name, f"this is of the weighting scheme {scheme}",
                f"Set weighting_scheme to {scheme}, or leave it out." if flow else "Leave it out.",
            )  # fmt: skip
    if flow is None:
        return
    if config.pretrained_vae_model_name_or_path:
        raise UserError(
            "pretrained_vae_model_name_or_path",
            "this model's transformer knows the latents of its own VAE only",
            "Leave it out.",
        )
    if config.guidance_scale is not None and not facts.network.get("guidance_embeds"):
        raise UserError(
            "guidance_scale", "this model has no embedding of the guidance", "Leave it out."
        )
    if (config.max_sequence_length or 0) > flow.longest:
        raise UserError(
            "max_sequence_length",
            f"{config.max_sequence_length} is more than {flow.longest}, the most that this "
            "model's pipeline takes",
            "Lower it.",
        )


def _refuse_other_schedules(config: Config, facts: Facts) -> None:
    if facts.repository is None:
        return
    for name, entry in FROM_SCRATCH.items():
        given, own = getattr(config, name), facts.scheduler.get(entry)
        if given not in (Config.model_fields[name].default, own):
            raise UserError(
                name,
                "this is for a model from scratch, and a base keeps its own schedule"
                + (f" ({entry} {own})" if own is not None else ""),
                "Leave it out.",
            )


def _refuse_overflow(config: Config, facts: Facts) -> None:
    # diffusers takes a VAE that does not say so for one that has to be run in float32.
    unsafe = facts.vae.get("force_upcast", True)
    if facts.family == "stable_diffusion_xl" and config.mixed_precision == "fp16" and unsafe:
        repository = facts.vae_repository or facts.repository
        assert repository is not None
        raise UserError(
            "mixed_precision",
            f"the VAE of {repository.name} overflows in fp16",
            "Name a safe one as pretrained_vae_model_name_or_path "
            "(madebyollin/sdxl-vae-fp16-fix), or use bf16.",
        )
