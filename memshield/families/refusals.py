"""Refuses models that look supported and are not, by their JSON files alone.

Every function raises a `UserError`, which says why and what to take instead.
"""

from __future__ import annotations

from typing import Any

from memshield.config.file import Config
from memshield.errors import UserError
from memshield.families.kinds import TEXT_ENCODERS, FamilyName
from memshield.families.repository import Repository

_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
"""Noise schedules of DDIM, which samples; DDPM's scheduler knows more."""


def refuse_single_file(repository: Repository) -> None:
    """Refuse a checkpoint for other programs, which holds no pipeline."""
    single = sorted(f for f in repository.files if "/" not in f and f.endswith(".safetensors"))
    if single and "model_index.json" not in repository.files:
        raise UserError(
            repository.field,
            f"{repository.name} has no model_index.json, only weights in one file ({single[0]})",
            "Choose the diffusers version of the model: a repository with a folder for each part.",
        )


def refuse_custom_code(repository: Repository, index: dict[str, Any]) -> None:
    """Refuse a pipeline with components of the repository's own code."""
    for component, entry in index.items():
        if not isinstance(entry, list) or len(entry) != 2 or entry[0] is None:
            continue
        if f"{component}/{entry[0]}.py" in repository.files or str(entry[0]).endswith(".py"):
            raise UserError(
                repository.field,
                f"{repository.name} brings its own code for {component}, which is never run",
                "Choose a pipeline made of diffusers' and transformers' own classes.",
            )


def refuse_other_processes(repository: Repository, scheduler: dict[str, Any]) -> None:
    """Refuse models that a DDPM's noise and targets would quietly spoil, or DDIM cannot sample."""
    kind = str(scheduler.get("_class_name"))
    predicts = scheduler.get("prediction_type") or "epsilon"
    if kind.startswith(("EDM", "FlowMatch")) or predicts not in ("epsilon", "v_prediction"):
        raise UserError(
            repository.field,
            f"{repository.name} was trained in another way ({kind}, which predicts {predicts})",
            "Choose a model with the timesteps of a DDPM that predicts epsilon or v_prediction.",
        )
    schedule = scheduler.get("beta_schedule", "linear")
    if scheduler.get("trained_betas") is None and schedule not in _SCHEDULES:
        raise UserError(
            repository.field,
            f"{repository.name} has the noise schedule {schedule}, which DDIM cannot sample",
            f"Choose a model with one of {', '.join(_SCHEDULES)}.",
        )


def refuse_another_target_of_lora(
    config: Config, scheduler: dict[str, Any], family: FamilyName
) -> None:
    """Refuse to train a LoRA for what its base's scheduler, which everybody runs it under, is not.

    Args:
        config: asks for a target.
        scheduler: config of the base's own.
        family: of the base.
    """
    own = scheduler.get("prediction_type") or "epsilon"
    is_lora = config.training != "full" and bool(TEXT_ENCODERS[family])
    if is_lora and config.prediction_type != own:
        raise UserError(
            "prediction_type",
            f"a LoRA is run under the scheduler of its base, which predicts {own}, and not "
            f"{config.prediction_type}",
            "Leave it out, or set training to full.",
        )


def refuse_other_inputs(
    repository: Repository, index: dict[str, Any], unet: dict[str, Any]
) -> None:
    """Refuse models that take more than noisy latents, a noise level and a prompt."""
    field, name = repository.field, repository.name
    if index.get("requires_aesthetics_score"):
        raise UserError(
            field,
            f"{name} is conditioned on aesthetic scores: it is a refiner or only a part of a model",
            "Choose a text-to-image base model.",
        )
    if unet.get("in_channels", 4) != unet.get("out_channels", 4):
        raise UserError(
            field,
            f"the UNet of {name} takes {unet['in_channels']} channels (inpainting or depth)",
            "Choose a text-to-image model.",
        )


def refuse_other_latents(source: Repository, vae: dict[str, Any], unet: dict[str, Any]) -> None:
    """Refuse a VAE, the base's own or another, whose latents the UNet does not take."""
    latents, taken = vae.get("latent_channels", 4), unet.get("in_channels", 4)
    if latents != taken:
        raise UserError(
            source.field,
            f"the VAE of {source.name} makes latents of {latents} channels, and the UNet takes "
            f"{taken}",
            "Choose a VAE for this model.",
        )
