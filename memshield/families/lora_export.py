"""A LoRA in the names that other tools load: kohya's sd-scripts and ComfyUI. No torch.

diffusers writes the LoRA of a UNet under names that neither tool has a rule for, and without the
alpha that both divide by the rank. The tensors stay as they are.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from memshield.digests import LORA
from memshield.errors import UserError
from memshield.families.kinds import PIPELINES, FamilyName

LoraFormat = Literal["kohya", "comfyui"]
FORMATS: tuple[LoraFormat, ...] = get_args(LoraFormat)
Naming = Callable[[str, int], str]
"""(path of a module in diffusers, attentions of a down block) -> its name in another tool."""

_KEY = re.compile(r"unet\.(?P<path>.+)\.lora(\.|_)(?P<side>down|up|A|B)\.weight")
_DOWN = ("down", "A")
_BLOCK = re.compile(r"(?P<side>down|up)_blocks\.(?P<block>\d+)\.attentions\.(?P<place>\d+)\.")
_PRECISIONS = ("F32", "F16")


def file_name(format: LoraFormat) -> str:
    """The name under which an exported LoRA is published.

    It does not end with the name that `load_lora_weights` takes first, nor does it hide it.
    """
    return f"lora-{format}.safetensors"


def _as_diffusers(path: str, _: int) -> str:
    """sd-scripts trains Stable Diffusion 1 and 2 on a UNet with diffusers' names of modules."""
    return "lora_unet_" + path.replace(".", "_")


def _as_original(path: str, attentions: int) -> str:
    """sd-scripts trains SDXL on a UNet with the names of the original code, in which blocks count
    through and the first convolution is input block 0. ComfyUI knows these names as well."""

    def block(found: re.Match[str]) -> str:
        number, place = int(found["block"]), int(found["place"])
        if found["side"] == "up":  # each has one layer more than a down block
            return f"output_blocks.{number * (attentions + 1) + place}.1."
        # A down block ends with a downsampler, which counts as a layer.
        return f"input_blocks.{1 + number * (attentions + 1) + place}.1."

    original = _BLOCK.sub(block, path).replace("mid_block.attentions.0.", "middle_block.1.")
    return _as_diffusers(original, attentions)


NAMINGS: Mapping[tuple[FamilyName, LoraFormat], Naming] = {
    ("stable_diffusion", "kohya"): _as_diffusers,
    ("stable_diffusion", "comfyui"): _as_diffusers,
    ("stable_diffusion_xl", "kohya"): _as_original,
    ("stable_diffusion_xl", "comfyui"): _as_original,
}
"""How the modules of each family are named in each format."""

_BASES = {"stable_diffusion": "sd_v1", "stable_diffusion_xl": "sdxl_base_v1-0"}
_WIDTH_OF_2 = 1024  # of the captions' embeddings in Stable Diffusion 2; 768 in 1.x


class Factors(NamedTuple):
    """The matrices of one module: down [rank, in] and up [out, rank]."""

    down: npt.NDArray[Any]
    up: npt.NDArray[Any]


def export_lora(folder: Path, pipeline_class: str | None, format: LoraFormat, target: Path) -> int:
    """Write the LoRA of a saved model for another tool.

    Args:
        folder: where the model was saved.
        pipeline_class: of diffusers, of its base.
        format: that is asked for.
        target: the file; one that is there is replaced.

    Returns:
        Number of modules.

    Raises:
        UserError: there is no LoRA, or one of a family that the format has no names for.
    """
    if (folder / "model_index.json").is_file():
        raise UserError(
            "training",
            "this model was trained in full, and only a LoRA is written for other tools",
            "Load it with diffusers, or train with training: lora.",
        )
    if not (folder / LORA).is_file():
        raise UserError("model", f"{folder} holds no {LORA}", "Wait for the run, or train anew.")
    tensors, metadata = exported(folder / LORA, pipeline_class, format)
    _write(tensors, metadata, target)
    return len(tensors) // 3


def _write(
    tensors: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str], target: Path
) -> None:
    """The same tensors and notes give the same bytes; the library's own order of notes varies."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": f"F{8 * tensor.itemsize}",
            "shape": tensor.shape,
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with target.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor).tobytes())


def exported(
    lora: Path, pipeline_class: str | None, format: LoraFormat
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """The tensors of an exported LoRA, and its metadata.

    Args:
        lora: the file that diffusers reads.
        pipeline_class, format: see `export_lora`.

    Raises:
        UserError: see `export_lora`.
    """
    family = PIPELINES.get(pipeline_class or "")
    naming = NAMINGS.get((family, format)) if family is not None else None
    if family is None or naming is None:
        known = sorted(name for name, one in PIPELINES.items() if (one, format) in NAMINGS)
        raise UserError(
            "format",
            f"the names that {format} has for {pipeline_class or 'this pipeline'} are not known",
            f"They are for {', '.join(known)}.",
        )
    modules, alpha = _read(lora)
    blocks = [found for path in modules if (found := _BLOCK.match(path))]
    # A LoRA is on every attention, so that its names say how many a down block has.
    attentions = 1 + max((int(f["place"]) for f in blocks if f["side"] == "down"), default=0)
    tensors: dict[str, npt.NDArray[Any]] = {}
    for path, factors in modules.items():
        name = naming(path, attentions)
        tensors[f"{name}.lora_down.weight"] = factors.down
        tensors[f"{name}.lora_up.weight"] = factors.up
        tensors[f"{name}.alpha"] = np.array(alpha or len(factors.down), factors.up.dtype)
    return tensors, _metadata(modules, family, alpha)


def _read(path: Path) -> tuple[dict[str, Factors], float | None]:
    """The matrices of a saved LoRA by module, and its alpha where the file says one.

    Without one the rank is the alpha: the scale is in the up matrices.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            odd = [n for n in names if file.get_slice(n).get_dtype() not in _PRECISIONS]
            tensors = {} if odd else {name: file.get_tensor(name) for name in names}
        values = dict(json.loads(metadata.get("lora_adapter_metadata") or "{}"))
        said = values.get("unet.lora_alpha")
        alpha = None if said is None else float(said)
    except (SafetensorError, ValueError, TypeError, RecursionError):
        raise _no_lora(path) from None
    sides: dict[str, dict[bool, npt.NDArray[Any]]] = {}
    for name, tensor in tensors.items():
        found = _KEY.fullmatch(name)
        if found is None:
            raise _no_lora(path)
        sides.setdefault(found["path"], {})[found["side"] in _DOWN] = tensor
    if not sides or any(len(pair) != 2 for pair in sides.values()):
        raise _no_lora(path)
    modules = {name: Factors(pair[True], pair[False]) for name, pair in sorted(sides.items())}
    return modules, alpha


def _no_lora(path: Path) -> UserError:
    return UserError(str(path), "holds no LoRA of a UNet as diffusers writes it", "Train it anew.")


def _metadata(
    modules: Mapping[str, Factors], family: FamilyName, alpha: float | None
) -> dict[str, str]:
    """What sd-scripts notes of a LoRA: by it tools tell the base that it fits."""
    rank = len(next(iter(modules.values())).down)
    text = next((f.down for name, f in modules.items() if name.endswith("attn2.to_k")), None)
    second = family == "stable_diffusion" and text is not None and text.shape[1] == _WIDTH_OF_2
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(alpha or float(rank)),
        "ss_base_model_version": "sd_v2" if second else _BASES[family],
        "ss_v2": str(second),
    }


METADATA = (
    "ss_network_module", "ss_network_dim", "ss_network_alpha", "ss_base_model_version", "ss_v2",
)  # fmt: skip
"""Names of what `export_lora` notes in a file."""


def differences(
    lora: Path, pipeline_class: str | None, format: LoraFormat, file: Path
) -> Iterator[str]:
    """In what an exported file is not a LoRA's, in words; nothing where it is.

    Args:
        lora, pipeline_class, format: see `exported`.
        file: the exported one.
    """
    try:
        tensors, metadata = exported(lora, pipeline_class, format)
        with safe_open(file, framework="np") as found:
            same = set(found.keys()) == tensors.keys() and all(
                found.get_slice(name).get_dtype() in _PRECISIONS
                and np.array_equal(found.get_tensor(name), tensor)
                for name, tensor in tensors.items()
            )
            noted = (found.metadata() or {}) == metadata
    except (UserError, SafetensorError) as error:
        yield f"cannot be compared with {LORA}: {error}"
        return
    if not same:
        yield f"holds other weights than {LORA}"
    if not noted:
        yield "notes something else of itself than its weights say"
