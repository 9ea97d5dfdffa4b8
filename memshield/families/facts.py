"""What a model is, read from its JSON files alone: no weights fetched, no torch imported."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memshield.config.file import Config
from memshield.config.shipped import find_shipped
from memshield.digests import LORA
from memshield.errors import UserError
from memshield.families.flow_facts import (
    NetworkParts,
    is_distilled,
    read_flow_parts,
    refuse_distilled,
)
from memshield.families.kinds import (
    FLOW,
    PIPELINES,
    SAFETY_CHECKER,
    TEXT_ENCODERS,
    FamilyName,
    network_of,
)
from memshield.families.refusals import (
    refuse_another_target_of_lora,
    refuse_custom_code,
    refuse_other_inputs,
    refuse_other_latents,
    refuse_other_processes,
    refuse_single_file,
)
from memshield.families.repository import Repository
from memshield.network import Token

# The rest, such as a safety checker, is needed only to write a whole pipeline again.
_NEEDED = ("unet", "transformer", "vae", "text_encoder", "tokenizer")


@dataclass(frozen=True)
class Facts:
    """Facts about a model.

    Attributes:
        family: which module of `memshield.families` trains it.
        pipeline_class: the diffusers class it is saved as.
        repository: where its weights are; None for a model from scratch.
        vae_repository: where a replacement VAE is, if one was named.
        components: what model_index.json names, in its order; () for pixel models.
        network: config of its UNet or transformer, which is trained.
        vae: config of its VAE, or of the replacement; {} for pixel models.
        scheduler: config of its noise scheduler.
        channels: of its pictures, 1 or 3.
        resolution: its own, in pixels.
        multiple_of: resolutions it can take are multiples of this.
        needs_captions: whether it is conditioned on text.
        distilled: whether it was distilled to a few steps, and samples without guidance.
    """

    family: FamilyName
    pipeline_class: str
    repository: Repository | None
    vae_repository: Repository | None
    components: tuple[str, ...]
    network: dict[str, Any]
    vae: dict[str, Any]
    scheduler: dict[str, Any]
    channels: int
    resolution: int
    multiple_of: int
    needs_captions: bool
    distilled: bool = False

    @property
    def network_folder(self) -> str:
        """The component of its pipeline that is trained."""
        return network_of(self.family)

    def fetch_part(self, part: str) -> Path:
        """The local folder of a component without weights, such as a tokenizer.

        Raises:
            UserError: it is not there, or cannot be had.
        """
        assert self.repository is not None
        files = self.repository.component_files(part, None)
        if not files:
            raise UserError(
                self.repository.field,
                f"{self.repository.name} has no {part}",
                "Choose a repository with all parts of its pipeline.",
            )
        return self.repository.fetch(files) / part

    @property
    def longest_side(self) -> int | None:
        """Pixels that it has embeddings of positions for, as Stable Diffusion 3; None for any."""
        positions = self.network.get("pos_embed_max_size")
        return None if positions is None else int(positions) * self.multiple_of

    @property
    def num_train_timesteps(self) -> int:
        """Number of noise levels T."""
        return int(self.scheduler.get("num_train_timesteps", 1000))


def is_prompted(folder: Path) -> bool:
    """Whether a saved model draws from prompts; a LoRA always does."""
    if (folder / LORA).is_file():
        return True
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return PIPELINES.get(index.get("_class_name")) != "unconditional"


def read_facts(
    config: Config,
    repository: Repository | None = None,
    token: Token = None,
    *,
    to_train: bool = True,
) -> Facts:
    """Find out which family trains the model of a config, and check that it can.

    Args:
        config: names the model.
        repository: of the pipeline that it names, where that has been looked up already.
        token: the Hub is asked with, where it has not; see `memshield.network.Token`.
        to_train: False for an audit, which also takes models that training would spoil.

    Raises:
        UserError: unsupported class, missing files, pickled weights, a resolution that the
            model cannot take, settings that the family does not have.
    """
    if config.model_config_name_or_path:
        facts = _from_scratch(config, token)
    else:
        facts = _from_pipeline(config, repository, token)
    if facts.distilled and to_train and facts.repository is not None:
        refuse_distilled(facts.repository, facts.family)
    if to_train and config.training == "full":
        _require_whole(config, facts)
    resolution = config.resolution or facts.resolution
    if resolution % facts.multiple_of:
        raise UserError(
            "resolution",
            f"this model takes multiples of {facts.multiple_of} pixels, got {resolution}",
            f"Its own is {facts.resolution}.",
        )
    if facts.longest_side is not None and resolution > facts.longest_side:
        raise UserError(
            "resolution",
            f"this model knows positions up to {facts.longest_side} pixels, got {resolution}",
            f"Its own is {facts.resolution}.",
        )
    return facts


def _from_scratch(config: Config, token: Token) -> Facts:
    field, name = "model_config_name_or_path", str(config.model_config_name_or_path)
    path = find_shipped(name)
    if path.suffix == ".json" or path.is_file():
        try:
            unet = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(
                field, f"cannot read {name}: {error.strerror}", "Check the path."
            ) from None
        except ValueError:
            raise UserError(
                field, f"{name} is not valid JSON", "Give a UNet2DModel config."
            ) from None
        if not isinstance(unet, dict):
            raise UserError(
                field,
                f"{name} holds no JSON object",
                "Give a UNet2DModel config.",
            )
    else:
        kind = "a repository of a UNet2DModel alone, with its config.json at the root"
        unet = Repository.open(field, name, kind=kind, token=token).json("config.json")
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
    try:
        return _unconditional(field, name, "DDPMPipeline", None, unet, scheduler, config)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(
            field, f"{name} holds what no UNet2DModel's config holds ({error})", "Mend the file."
        ) from None


def _from_pipeline(config: Config, repository: Repository | None, token: Token) -> Facts:
    field, name = "pretrained_model_name_or_path", str(config.pretrained_model_name_or_path)
    if repository is None:
        repository = Repository.open(field, name, config.revision, token=token)
    refuse_single_file(repository)
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
    refuse_custom_code(repository, index)
    family = PIPELINES[class_name]
    if family in FLOW:
        parts = read_flow_parts(repository, family, config)
        distilled = is_distilled(repository, index, family, parts.network)
        return replace(_latent(repository, index, parts, config), distilled=distilled)
    unet = repository.json("unet/config.json")
    scheduler = repository.json("scheduler/scheduler_config.json")
    if config.prediction_type is not None:
        refuse_another_target_of_lora(config, scheduler, family)
        scheduler = {**scheduler, "prediction_type": config.prediction_type}
    refuse_other_processes(repository, scheduler)
    repository.require_safetensors("unet", config.variant)
    if family == "unconditional":
        return _unconditional(field, name, class_name, repository, unet, scheduler, config)
    refuse_other_inputs(repository, index, unet)
    vae_repository, vae = _vae(repository, config)
    refuse_other_latents(vae_repository or repository, vae, unet)
    scale = 2 ** (len(vae.get("block_out_channels", ("",) * 4)) - 1)
    size = int(unet.get("sample_size") or 64) * scale
    parts = NetworkParts(unet, vae, scheduler, size, scale)
    distilled = is_distilled(repository, index, family, unet)
    return replace(_latent(repository, index, parts, config, vae_repository), distilled=distilled)


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
        components=(),
        network=unet,
        vae={},
        scheduler=scheduler,
        channels=channels,
        resolution=int(size),
        multiple_of=2 ** (levels - 1),
        needs_captions=False,
    )


def _latent(
    repository: Repository,
    index: dict[str, Any],
    parts: NetworkParts,
    config: Config,
    vae_repository: Repository | None = None,
) -> Facts:
    family = PIPELINES[index["_class_name"]]
    components = tuple(
        part
        for part, entry in index.items()
        if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)
    )
    missing = [part for part in TEXT_ENCODERS[family] if part not in components]
    if missing:
        raise UserError(
            repository.field,
            f"{repository.name} has no {missing[0]}: it is a refiner or only a part of a model",
            "Choose a text-to-image base model.",
        )
    for part in TEXT_ENCODERS[family]:
        repository.require_safetensors(part, config.variant)
    return Facts(
        family=family,
        pipeline_class=index["_class_name"],
        repository=repository,
        vae_repository=vae_repository,
        components=components,
        network=parts.network,
        vae=parts.vae,
        scheduler=parts.scheduler,
        channels=3,
        resolution=parts.resolution,
        multiple_of=parts.multiple_of,
        needs_captions=True,
    )


def _require_whole(config: Config, facts: Facts) -> None:
    """Refuse a base of which no whole pipeline could be saved; it may lose its safety checker."""
    for part in facts.components:
        replaced = part == "vae" and facts.vae_repository is not None
        if replaced or part == SAFETY_CHECKER:
            continue
        assert facts.repository is not None
        if not facts.repository.has_part(part, config.variant):
            raise UserError(
                facts.repository.field,
                f"{facts.repository.name} has no {part} that can be saved with the model: its "
                "folder, or its safetensors weights, are missing",
                "Choose a repository or revision with all parts of its pipeline, or set training "
                "to lora.",
            )


def _vae(repository: Repository, config: Config) -> tuple[Repository | None, dict[str, Any]]:
    """The repository of the replacement VAE, if there is one, and the config of the VAE used."""
    named = config.pretrained_vae_model_name_or_path
    source, folder, variant = repository, "vae", config.variant
    if named is not None:
        kind = "a repository of an AutoencoderKL alone, with its config.json at the root"
        source = Repository.open(
            "pretrained_vae_model_name_or_path", named, kind=kind, token=repository.token
        )
        folder, variant = "", None
    vae = source.json("config.json" if named else "vae/config.json")
    kind = vae.get("_class_name", "AutoencoderKL")
    if kind != "AutoencoderKL" or vae.get("latents_mean") is not None:
        what = "centres its latents" if kind == "AutoencoderKL" else f"is an {kind}"
        raise UserError(
            source.field,
            f"the VAE of {source.name} {what}, which is not supported",
            "Choose a plain AutoencoderKL.",
        )
    source.require_safetensors(folder, variant)
    return source if named else None, vae


def training_files(config: Config, facts: Facts) -> list[str]:
    """Paths in `facts.repository`, or patterns of them where its files are not known.

    A replacement VAE comes from a repository of its own and is not among them.

    Args:
        config: resolved settings.
        facts: of a model that is not trained from scratch.
    """
    assert facts.repository is not None
    if not facts.components:
        return facts.repository.component_files("unet", config.variant)
    files = ["model_index.json"]
    for part in facts.components:
        replaced = part == "vae" and facts.vae_repository is not None
        if not replaced and (config.training != "lora" or part.startswith(_NEEDED)):
            files += facts.repository.component_files(part, config.variant)
    return files
