"""What a model is, read from its JSON files alone: no weights fetched, no torch imported."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from memshield.config import Config
from memshield.errors import UserError
from memshield.families.repository import Repository

FamilyName = Literal["unconditional", "stable_diffusion"]

PIPELINES: dict[str, FamilyName] = {
    "DDPMPipeline": "unconditional",
    "DDIMPipeline": "unconditional",
    "StableDiffusionPipeline": "stable_diffusion",
}
"""Supported `_class_name` of model_index.json, and the family that trains it."""


@dataclass(frozen=True)
class Facts:
    """Facts about a model.

    Attributes:
        family: which module of `memshield.families` trains it.
        pipeline_class: the diffusers class it is saved as.
        repository: where its weights are; None for a model from scratch.
        vae_repository: where a replacement VAE is, if one was named.
        unet: config of its UNet.
        scheduler: config of its noise scheduler.
        channels: of its pictures, 1 or 3.
        resolution: its own, in pixels.
        multiple_of: resolutions it can take are multiples of this.
        needs_captions: whether it is conditioned on text.
    """

    family: FamilyName
    pipeline_class: str
    repository: Repository | None
    vae_repository: Repository | None
    unet: dict[str, Any]
    scheduler: dict[str, Any]
    channels: int
    resolution: int
    multiple_of: int
    needs_captions: bool

    @property
    def num_train_timesteps(self) -> int:
        """Number of noise levels T."""
        return int(self.scheduler.get("num_train_timesteps", 1000))


def read_facts(config: Config) -> Facts:
    """Find out which family trains the model of a config, and check that it can.

    Raises:
        UserError: unsupported class, missing files, pickled weights, a resolution that the
            model cannot take, settings that the family does not have.
    """
    facts = _from_scratch(config) if config.model_config_name_or_path else _from_pipeline(config)
    resolution = config.resolution or facts.resolution
    if resolution % facts.multiple_of:
        raise UserError(
            "resolution",
            f"this model takes multiples of {facts.multiple_of} pixels, got {resolution}",
            f"Its own is {facts.resolution}.",
        )
    return facts


def resolve(config: Config, facts: Facts) -> Config:
    """Fill in the settings whose default depends on the model.

    Raises:
        UserError: a setting that contradicts the model.
    """
    text = facts.needs_captions
    training = config.training or ("lora" if text else "full")
    reset = training == "lora" and config.num_shards > 1
    update: dict[str, Any] = {
        "training": training,
        "resolution": config.resolution or facts.resolution,
        "lora_alpha": config.lora_alpha or float(config.rank),
        "skip_threshold": (0.8 if text else 0.5)
        if config.skip_threshold is None
        else config.skip_threshold,
        "loss_bank_bins": config.loss_bank_bins or facts.num_train_timesteps,
        "shard_optimizer": config.shard_optimizer or ("reset" if reset else "keep"),
        "num_validation_images": (4 if text else 16)
        if config.num_validation_images is None
        else config.num_validation_images,
    }
    if facts.repository is not None and facts.repository.revision is not None:
        update["revision"] = facts.repository.revision
    resolved = config.model_copy(update=update)
    _refuse_contradictions(resolved, facts, reset)
    return resolved


def _refuse_contradictions(config: Config, facts: Facts, reset: bool) -> None:
    if config.training == "lora" and not facts.needs_captions:
        raise UserError("training", "pixel models are trained in full", "Set training to full.")
    if config.training == "lora" and config.use_ema:
        raise UserError(
            "use_ema", "a moving average is kept for full training only", "Leave it out."
        )
    if reset and config.shard_optimizer == "keep":
        raise UserError(
            "shard_optimizer",
            "the averaged LoRA has another basis, so moments cannot be kept between rounds",
            "Set it to reset.",
        )
    if not facts.needs_captions:
        for name in ("proportion_empty_prompts", "validation_prompts", "caption_column"):
            if getattr(config, name):
                raise UserError(name, "this model is not conditioned on text", "Leave it out.")
    if (config.loss_bank_bins or 0) > facts.num_train_timesteps:
        raise UserError(
            "loss_bank_bins",
            f"{config.loss_bank_bins} slots for {facts.num_train_timesteps} noise levels",
            "Give at most one slot a level.",
        )


def _from_scratch(config: Config) -> Facts:
    field, name = "model_config_name_or_path", str(config.model_config_name_or_path)
    path = Path(name).expanduser()
    if path.suffix == ".json" or path.is_file():
        try:
            unet = dict(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise UserError(
                field, f"cannot read {name}: {error.strerror}", "Check the path."
            ) from None
        except ValueError:
            raise UserError(
                field, f"{name} is not valid JSON", "Give a UNet2DModel config."
            ) from None
    else:
        unet = Repository.open(field, name).json("config.json")
    if unet.get("_class_name", "UNet2DModel") != "UNet2DModel":
        raise UserError(
            field, f"{name} describes a {unet['_class_name']}", "Give a UNet2DModel config."
        )
    scheduler = {
        "num_train_timesteps": config.ddpm_num_steps,
        "beta_schedule": config.ddpm_beta_schedule,
        "prediction_type": config.prediction_type or "epsilon",
    }
    if config.resolution is None and unet.get("sample_size") is None:
        raise UserError("resolution", f"{name} names no sample_size", "Give the side in pixels.")
    return _unconditional(field, name, "DDPMPipeline", None, unet, scheduler, config)


def _from_pipeline(config: Config) -> Facts:
    field, name = "pretrained_model_name_or_path", str(config.pretrained_model_name_or_path)
    repository = Repository.open(field, name, config.revision)
    index = repository.json("model_index.json")
    class_name = index.get("_class_name")
    if not isinstance(class_name, str) or class_name not in PIPELINES:
        said = class_name[-1] if isinstance(class_name, list) and class_name else class_name
        custom = " (custom code in the repository)" if isinstance(class_name, list) else ""
        raise UserError(
            field,
            f"{name} is a {said}{custom}, which is not supported",
            f"Supported pipelines: {', '.join(sorted(PIPELINES))}.",
        )
    _refuse_custom_code(repository, index)
    unet = repository.json("unet/config.json")
    scheduler = repository.json("scheduler/scheduler_config.json")
    if config.prediction_type is not None:
        scheduler = {**scheduler, "prediction_type": config.prediction_type}
    repository.require_safetensors("unet", config.variant)
    if PIPELINES[class_name] == "unconditional":
        return _unconditional(field, name, class_name, repository, unet, scheduler, config)
    return _stable_diffusion(name, class_name, repository, unet, scheduler, config)


def _refuse_custom_code(repository: Repository, index: dict[str, Any]) -> None:
    for component, entry in index.items():
        if not isinstance(entry, list) or len(entry) != 2 or entry[0] is None:
            continue
        if f"{component}/{entry[0]}.py" in repository.files or str(entry[0]).endswith(".py"):
            raise UserError(
                repository.field,
                f"{repository.name} brings its own code for {component}, which is never run",
                "Choose a pipeline made of diffusers' and transformers' own classes.",
            )


def _unconditional(
    field: str,
    name: str,
    pipeline_class: str,
    repository: Repository | None,
    unet: dict[str, Any],
    scheduler: dict[str, Any],
    config: Config,
) -> Facts:
    if unet.get("class_embed_type") is not None or unet.get("num_class_embeds") is not None:
        raise UserError(
            field,
            f"{name} is conditioned on classes, which stock DDPM and DDIM pipelines cannot sample",
            "Choose a model without class embeddings.",
        )
    channels = int(unet.get("in_channels", 3))
    if channels not in (1, 3) or channels != int(unet.get("out_channels", 3)):
        raise UserError(
            field,
            f"{name} has {channels} input and {unet.get('out_channels', 3)} output channels",
            "Pictures have 1 (grey) or 3 (colour), the same on both sides.",
        )
    size: Any = unet.get("sample_size") or config.resolution
    if not isinstance(size, int):
        if len(set(size)) != 1:
            raise UserError(field, f"{name} makes pictures of {size}, not square ones", "")
        size = size[0]
    levels = len(unet.get("down_block_types", ("",) * 4))
    return Facts(
        family="unconditional",
        pipeline_class=pipeline_class,
        repository=repository,
        vae_repository=None,
        unet=unet,
        scheduler=scheduler,
        channels=channels,
        resolution=int(size),
        multiple_of=2 ** (levels - 1),
        needs_captions=False,
    )


def _stable_diffusion(
    name: str,
    pipeline_class: str,
    repository: Repository,
    unet: dict[str, Any],
    scheduler: dict[str, Any],
    config: Config,
) -> Facts:
    if unet.get("in_channels", 4) != unet.get("out_channels", 4):
        raise UserError(
            repository.field,
            f"the UNet of {name} takes {unet['in_channels']} channels (inpainting or depth)",
            "Choose a text-to-image model.",
        )
    repository.require_safetensors("text_encoder", config.variant)
    vae_repository = None
    if config.pretrained_vae_model_name_or_path is not None:
        vae_repository = Repository.open(
            "pretrained_vae_model_name_or_path", config.pretrained_vae_model_name_or_path
        )
        vae = vae_repository.json("config.json")
    else:
        repository.require_safetensors("vae", config.variant)
        vae = repository.json("vae/config.json")
    scale = 2 ** (len(vae.get("block_out_channels", ("",) * 4)) - 1)
    return Facts(
        family="stable_diffusion",
        pipeline_class=pipeline_class,
        repository=repository,
        vae_repository=vae_repository,
        unet=unet,
        scheduler=scheduler,
        channels=3,
        resolution=int(unet.get("sample_size") or 64) * scale,
        multiple_of=scale,
        needs_captions=True,
    )
