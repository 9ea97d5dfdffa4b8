"""The names that kohya's trainers and ComfyUI have for the modules that carry a LoRA. No torch.

Both begin with `lora_unet_`, whatever the network, and have `_` for every dot of a path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

from memshield.families.kinds import FamilyName

LoraFormat = Literal["kohya", "comfyui"]
FORMATS: tuple[LoraFormat, ...] = get_args(LoraFormat)


class Place(NamedTuple):
    """A module of another tool, or those of its rows that diffusers has as a module of its own.

    Attributes:
        name: of the module there.
        part: which of the parts that it is made of, from its first row on.
        heights: of all its parts, as multiples of the lowest.
    """

    name: str
    part: int = 0
    heights: tuple[int, ...] = (1,)


Naming = Callable[[str, int], Place | None]
"""(path of a module in diffusers, attentions of a down block) -> its place in another tool."""

BLOCK = re.compile(r"(?P<side>down|up)_blocks\.(?P<block>\d+)\.attentions\.(?P<place>\d+)\.")
_NUMBERED = re.compile(r"(?P<blocks>[\w.]+?)\.(?P<number>\d+)\.(?P<path>.+)")


def _flat(path: str) -> Place:
    return Place("lora_unet_" + path.replace(".", "_"))


def _as_diffusers(path: str, _: int) -> Place:
    """Trained on a network with diffusers' names: Stable Diffusion 1 and 2, Qwen-Image, and
    Z-Image by kohya's musubi-tuner."""
    return _flat(path)


def _as_original(path: str, attentions: int) -> Place:
    """sd-scripts trains SDXL on a UNet with the names of the original code, in which blocks count
    through and the first convolution is input block 0. ComfyUI knows these names as well."""

    def block(found: re.Match[str]) -> str:
        number, place = int(found["block"]), int(found["place"])
        if found["side"] == "up":  # each has one layer more than a down block
            return f"output_blocks.{number * (attentions + 1) + place}.1."
        # A down block ends with a downsampler, which counts as a layer.
        return f"input_blocks.{1 + number * (attentions + 1) + place}.1."

    return _flat(BLOCK.sub(block, path).replace("mid_block.attentions.0.", "middle_block.1."))


def _fused(name: str, paths: str, heights: tuple[int, ...] = (1, 1, 1)) -> dict[str, Place]:
    """Modules of diffusers that are one below each other in another tool."""
    return {path: Place(name, part, heights) for part, path in enumerate(paths.split())}


_BLOCKS_OF_FLUX = {
    **_fused("img_attn.qkv", "attn.to_q attn.to_k attn.to_v"),
    **_fused("txt_attn.qkv", "attn.add_q_proj attn.add_k_proj attn.add_v_proj"),
    "attn.to_out.0": Place("img_attn.proj"),
    "attn.to_add_out": Place("txt_attn.proj"),
    "ff.net.0.proj": Place("img_mlp.0"),
    "ff.net.2": Place("img_mlp.2"),
    "ff_context.net.0.proj": Place("txt_mlp.0"),
    "ff_context.net.2": Place("txt_mlp.2"),
}
_BLOCKS_OF_SD3 = {
    **_fused("x_block.attn.qkv", "attn.to_q attn.to_k attn.to_v"),
    **_fused("context_block.attn.qkv", "attn.add_q_proj attn.add_k_proj attn.add_v_proj"),
    "attn.to_out.0": Place("x_block.attn.proj"),
    "attn.to_add_out": Place("context_block.attn.proj"),
}
_BLOCKS_OF_Z_IMAGE = {
    **_fused("attention.qkv", "attention.to_q attention.to_k attention.to_v"),
    "attention.to_out.0": Place("attention.out"),
}

_BLOCKS_OF_KREA2 = {
    "attn.to_q": Place("attn.wq"),
    "attn.to_k": Place("attn.wk"),
    "attn.to_v": Place("attn.wv"),
    "attn.to_gate": Place("attn.gate"),
    "attn.to_out.0": Place("attn.wo"),
    "ff.gate": Place("mlp.gate"),
    "ff.up": Place("mlp.up"),
    "ff.down": Place("mlp.down"),
}

_Blocks = Mapping[str, tuple[str, Mapping[str, Place]]]
"""A list of blocks in diffusers -> its name in the original code, and the modules of a block."""

_FLUX: _Blocks = {
    "transformer_blocks": ("double_blocks", _BLOCKS_OF_FLUX),
    "single_transformer_blocks": (
        "single_blocks",
        # The last part is four times as high, and carries no LoRA here.
        _fused("linear1", "attn.to_q attn.to_k attn.to_v proj_mlp", (1, 1, 1, 4)),
    ),
}
_FLUX2: _Blocks = {
    "transformer_blocks": ("double_blocks", _BLOCKS_OF_FLUX),
    "single_transformer_blocks": (
        "single_blocks",
        {"attn.to_qkv_mlp_proj": Place("linear1"), "attn.to_out": Place("linear2")},
    ),
}
_SD3: _Blocks = {"transformer_blocks": ("joint_blocks", _BLOCKS_OF_SD3)}
_Z_IMAGE: _Blocks = {
    blocks: (blocks, _BLOCKS_OF_Z_IMAGE)
    for blocks in ("layers", "noise_refiner", "context_refiner")
}
_KREA2: _Blocks = {
    blocks: (original, _BLOCKS_OF_KREA2)
    for blocks, original in {
        "transformer_blocks": "blocks",
        "text_fusion.layerwise_blocks": "txtfusion.layerwise_blocks",
        "text_fusion.refiner_blocks": "txtfusion.refiner_blocks",
    }.items()
}
_BESIDE_BLOCKS_OF_KREA2 = {
    "img_in": "first",
    "final_layer.linear": "last.linear",
    "time_embed.linear_1": "tmlp.0",
    "time_embed.linear_2": "tmlp.2",
    "time_mod_proj": "tproj.1",
    "txt_in.linear_1": "txtmlp.1",
    "txt_in.linear_2": "txtmlp.3",
    "text_fusion.projector": "txtfusion.projector",
}


def _by_blocks(table: _Blocks, beside: Mapping[str, str] = MappingProxyType({})) -> Naming:
    """The names of a transformer's original code, on which kohya's trainers and ComfyUI run it.

    Args:
        table: of the modules of its blocks.
        beside: of those in no block, by their names in diffusers.
    """

    def place_of(path: str, _: int) -> Place | None:
        if path in beside:
            return _flat(beside[path])
        found = _NUMBERED.fullmatch(path)
        if found is None or found["blocks"] not in table:
            return None
        blocks, places = table[found["blocks"]]
        place = places.get(found["path"])
        if place is None:
            return None
        return place._replace(name=_flat(f"{blocks}.{found['number']}.{place.name}").name)

    return place_of


NAMINGS: Mapping[tuple[FamilyName, LoraFormat], Naming] = {
    ("stable_diffusion", "kohya"): _as_diffusers,
    ("stable_diffusion", "comfyui"): _as_diffusers,
    ("stable_diffusion_xl", "kohya"): _as_original,
    ("stable_diffusion_xl", "comfyui"): _as_original,
    ("stable_diffusion_3", "kohya"): _by_blocks(_SD3),
    ("stable_diffusion_3", "comfyui"): _by_blocks(_SD3),
    ("flux", "kohya"): _by_blocks(_FLUX),
    ("flux", "comfyui"): _by_blocks(_FLUX),
    ("flux2_klein", "kohya"): _by_blocks(_FLUX2),
    ("flux2_klein", "comfyui"): _by_blocks(_FLUX2),
    ("qwen_image", "kohya"): _as_diffusers,
    ("qwen_image", "comfyui"): _as_diffusers,
    ("z_image", "kohya"): _as_diffusers,
    ("z_image", "comfyui"): _by_blocks(_Z_IMAGE),
    ("krea2", "kohya"): _by_blocks(_KREA2, _BESIDE_BLOCKS_OF_KREA2),
    ("krea2", "comfyui"): _by_blocks(_KREA2, _BESIDE_BLOCKS_OF_KREA2),
}
"""How the modules of each family are named in each format."""

TRAINERS: Mapping[FamilyName, str] = {
    "stable_diffusion": "networks.lora",
    "stable_diffusion_xl": "networks.lora",
    "stable_diffusion_3": "networks.lora_sd3",
    "flux": "networks.lora_flux",
    "flux2_klein": "networks.lora_flux_2",
    "qwen_image": "networks.lora_qwen_image",
    "z_image": "networks.lora_zimage",
    "krea2": "networks.lora_krea2",
}
"""The modules of sd-scripts and musubi-tuner that train and load a LoRA on each family."""
