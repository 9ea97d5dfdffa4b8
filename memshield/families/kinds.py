"""The supported families, as tables: which pipelines are theirs, and how they are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

FamilyName = Literal[
    "unconditional", "stable_diffusion", "stable_diffusion_xl", "stable_diffusion_3", "flux",
    "z_image", "qwen_image", "flux2_klein", "krea2",
]  # fmt: skip

PIPELINES: dict[str, FamilyName] = {
    "DDPMPipeline": "unconditional",
    "DDIMPipeline": "unconditional",
    "StableDiffusionPipeline": "stable_diffusion",
    "StableDiffusionXLPipeline": "stable_diffusion_xl",
    "StableDiffusion3Pipeline": "stable_diffusion_3",
    "FluxPipeline": "flux",
    "ZImagePipeline": "z_image",
    "QwenImagePipeline": "qwen_image",
    "Flux2KleinPipeline": "flux2_klein",
    "Krea2Pipeline": "krea2",
}
"""Supported `_class_name` of model_index.json, and the family that trains it.

Sana is none of them: its pipeline samples by DPM-Solver and its autoencoder gives latents without
a distribution, while these cache moments and sample by Euler's steps.
"""

TEXT_ENCODERS: dict[FamilyName, tuple[str, ...]] = {
    "unconditional": (),
    "stable_diffusion": ("text_encoder",),
    "stable_diffusion_xl": ("text_encoder", "text_encoder_2"),
    "stable_diffusion_3": ("text_encoder", "text_encoder_2", "text_encoder_3"),
    "flux": ("text_encoder", "text_encoder_2"),
    "z_image": ("text_encoder",),
    "qwen_image": ("text_encoder",),
    "flux2_klein": ("text_encoder",),
    "krea2": ("text_encoder",),
}
"""Components of a pipeline that encode captions, in the order of their embeddings."""

WITHOUT_WEIGHTS = ("scheduler", "tokenizer", "feature_extractor", "image_processor")
"""Beginnings of the names of components that are settings and vocabulary alone."""

SAFETY_CHECKER = "safety_checker"
"""The component that a pipeline is whole without."""

WeightingScheme = Literal["sigma_sqrt", "logit_normal", "mode", "cosmap", "none"]


@dataclass(frozen=True)
class FlowKind:
    """How a family of flow-matching transformers is trained, after its usual script.

    Attributes:
        transformer: the diffusers class that is trained.
        vae: the diffusers class of its autoencoder.
        weighting_scheme: the default of that setting.
        max_sequence_length: the default of that setting.
        longest: the largest that its pipeline takes.
        stock_length: the one that its pipeline takes where it is told none.
        resolution: its own, in pixels, where its transformer's config names none.
        own_lengths: whether a caption has as many hidden states as tokens, and no more.
    """

    transformer: str
    vae: str
    weighting_scheme: WeightingScheme
    max_sequence_length: int
    longest: int
    stock_length: int = 512
    resolution: int = 1024
    own_lengths: bool = False


FLOW: Mapping[FamilyName, FlowKind] = MappingProxyType(
    {
        "stable_diffusion_3": FlowKind(
            "SD3Transformer2DModel", "AutoencoderKL", "logit_normal", 77, 512, 256
        ),
        "flux": FlowKind("FluxTransformer2DModel", "AutoencoderKL", "none", 512, 512),
        "z_image": FlowKind(
            "ZImageTransformer2DModel", "AutoencoderKL", "none", 512, 512, own_lengths=True
        ),
        "qwen_image": FlowKind(
            "QwenImageTransformer2DModel",
            "AutoencoderKLQwenImage",
            "none",
            512,
            1024,
            own_lengths=True,
        ),
        "flux2_klein": FlowKind("Flux2Transformer2DModel", "AutoencoderKLFlux2", "none", 512, 512),
        "krea2": FlowKind(
            "Krea2Transformer2DModel", "AutoencoderKLQwenImage", "none", 512, 512, own_lengths=True
        ),
    }
)
"""The families that are trained by flow matching."""

OWN_LENGTHS = frozenset(name for name, kind in FLOW.items() if kind.own_lengths)
"""Families whose captions keep their own lengths."""

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_JOINT = (
    "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0",
    "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out",
)  # fmt: skip

LORA_TARGETS: Mapping[FamilyName, tuple[str, ...]] = MappingProxyType(
    {
        "stable_diffusion": ATTENTION,
        "stable_diffusion_xl": ATTENTION,
        "stable_diffusion_3": _JOINT,
        "flux": (
            *_JOINT,
            "ff.net.0.proj",
            "ff.net.2",
            "ff_context.net.0.proj",
            "ff_context.net.2",
        ),
        "z_image": ATTENTION,
        "qwen_image": ATTENTION,
        "flux2_klein": (*ATTENTION, "to_qkv_mlp_proj"),
        "krea2": (
            *ATTENTION,
            "to_gate",
            "ff.up",
            "ff.down",
            "img_in",
            "final_layer.linear",
            "text_fusion.projector",
            "time_mod_proj",
            "txt_in.linear_1",
            "txt_in.linear_2",
            "time_embed.linear_1",
            "time_embed.linear_2",
        ),
    }
)
"""Ends of the names of the layers that carry a LoRA, as in diffusers' examples."""


def takes_prompts(pipeline_class: str | None) -> bool:
    """Whether a supported pipeline is one of text to image."""
    return bool(TEXT_ENCODERS.get(PIPELINES.get(pipeline_class or "", "unconditional")))


def told_length(pipeline_class: str | None, trained: object) -> int | None:
    """The max_sequence_length that a pipeline is told, to take prompts as in training.

    Args:
        pipeline_class: of diffusers.
        trained: the setting of its training, which may come from a stranger's claims.

    Returns:
        None where it is the pipeline's own, or not one that the pipeline takes.
    """
    kind = FLOW.get(PIPELINES.get(pipeline_class or "", "unconditional"))
    if kind is None or type(trained) is not int or trained == kind.stock_length:
        return None
    return trained if 0 < trained <= kind.longest else None


def network_of(family: FamilyName) -> str:
    """The component of a pipeline that is trained."""
    return "transformer" if family in FLOW else "unet"
