"""A LoRA as a file that other tools load: kohya's trainers and ComfyUI. No torch.

diffusers writes a LoRA under names that the tools have no rule for, and without the alpha that they
divide by the rank. Where they have one module for several of diffusers', its matrices are put
together; what a LoRA adds to the weights stays as it is.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from memshield.digests import LORA
from memshield.errors import UserError
from memshield.families.kinds import PIPELINES, FamilyName
from memshield.families.lora_names import BLOCK, NAMINGS, TRAINERS, LoraFormat

_KEY = re.compile(r"(unet|transformer)\.(?P<path>.+)\.lora(\.|_)(?P<side>down|up|A|B)\.weight")
_DOWN = ("down", "A")
_PRECISIONS = ("F32", "F16")


def file_name(format: LoraFormat) -> str:
    """The name under which an exported LoRA is published.

    It does not end with the name that `load_lora_weights` takes first, nor does it hide it.
    """
    return f"lora-{format}.safetensors"


_BASES: Mapping[FamilyName, str] = {
    "stable_diffusion": "sd_v1",
    "stable_diffusion_xl": "sdxl_base_v1-0",
    "flux": "flux1",
}
"""What sd-scripts notes as the base; it is left out where that is not known."""
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
    blocks = [found for path in modules if (found := BLOCK.match(path))]
    # A LoRA is on every attention, so that its names say how many a down block has.
    attentions = 1 + max((int(f["place"]) for f in blocks if f["side"] == "down"), default=0)
    parts: dict[str, dict[int, Factors]] = {}
    heights: dict[str, tuple[int, ...]] = {}
    for path, factors in modules.items():
        place = naming(path, attentions)
        if place is None:
            raise UserError("format", f"{format} has no name that is known for {path}", "")
        parts.setdefault(place.name, {})[place.part] = factors
        heights[place.name] = place.heights
    tensors: dict[str, npt.NDArray[Any]] = {}
    for name, pieces in parts.items():
        if not _fit(pieces, heights[name]):
            raise _no_lora(lora)
        whole = _together(pieces, heights[name])
        tensors[f"{name}.lora_down.weight"] = whole.down
        tensors[f"{name}.lora_up.weight"] = whole.up
        own = alpha or len(next(iter(pieces.values())).down)
        # Divided by the rank, it is to give the same.
        tensors[f"{name}.alpha"] = np.array(own * len(heights[name]), whole.up.dtype)
    return tensors, _metadata(modules, family, alpha)


def _fit(parts: Mapping[int, Factors], heights: tuple[int, ...]) -> bool:
    """Whether modules have the shapes of parts of one; others may have written them."""
    place, some = next(iter(parts.items()))
    if some.down.ndim != 2 or some.up.ndim != 2:
        return False
    unit = len(some.up) // heights[place]
    return all(
        one.down.shape == some.down.shape and one.up.shape == (heights[i] * unit, len(one.down))
        for i, one in parts.items()
    )


def _together(parts: Mapping[int, Factors], heights: tuple[int, ...]) -> Factors:
    """The matrices of modules that are parts of one: each has ranks of its own.

    Args:
        parts: by their places; one that carries no LoRA is not among them.
        heights: of all parts, as multiples of the lowest.

    Returns:
        down [parts x rank, in] and up [heights of all, parts x rank], which is zero outside of the
        blocks on its diagonal, as sd-scripts writes them.
    """
    if len(heights) == 1:
        return parts[0]
    place, some = next(iter(parts.items()))
    unit, rank = len(some.up) // heights[place], len(some.down)
    down = np.zeros((len(heights) * rank, some.down.shape[1]), some.down.dtype)
    up = np.zeros((sum(heights) * unit, len(heights) * rank), some.up.dtype)
    for part, factors in parts.items():
        top, ranks = sum(heights[:part]) * unit, slice(part * rank, (part + 1) * rank)
        down[ranks] = factors.down
        up[top : top + len(factors.up), ranks] = factors.up
    return Factors(down, up)


def _read(path: Path) -> tuple[dict[str, Factors], float | None]:
    """The matrices of a saved LoRA by module, and its alpha where the file says one.

    Without one the rank is the alpha: the scale is in the up matrices.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            # Nothing is read of what is no LoRA: somebody else may have written it.
            odd = [
                name for name in names
                if not _KEY.fullmatch(name) or file.get_slice(name).get_dtype() not in _PRECISIONS
            ]  # fmt: skip
            tensors = {} if odd else {name: file.get_tensor(name) for name in names}
        values = dict(json.loads(metadata.get("lora_adapter_metadata") or "{}"))
        said = values.get("unet.lora_alpha", values.get("transformer.lora_alpha"))
        alpha = None if said is None else float(said)
    except (SafetensorError, ValueError, TypeError, RecursionError):
        raise _no_lora(path) from None
    sides: dict[str, dict[bool, npt.NDArray[Any]]] = {}
    for name, tensor in tensors.items():
        found = _KEY.fullmatch(name)
        assert found is not None
        sides.setdefault(found["path"], {})[found["side"] in _DOWN] = tensor
    if not sides or any(len(pair) != 2 for pair in sides.values()):
        raise _no_lora(path)
    modules = {name: Factors(pair[True], pair[False]) for name, pair in sorted(sides.items())}
    return modules, alpha


def _no_lora(path: Path) -> UserError:
    return UserError(str(path), "holds no LoRA as diffusers writes it", "Train it anew.")


def _metadata(
    modules: Mapping[str, Factors], family: FamilyName, alpha: float | None
) -> dict[str, str]:
    """What sd-scripts notes of a LoRA: by it tools tell the base that it fits."""
    rank = len(next(iter(modules.values())).down)
    text = next((f.down for name, f in modules.items() if name.endswith("attn2.to_k")), None)
    second = family == "stable_diffusion" and text is not None and text.shape[1] == _WIDTH_OF_2
    noted = {
        "ss_network_module": TRAINERS[family],
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(alpha or float(rank)),
    }
    if family in _BASES:
        noted["ss_base_model_version"] = "sd_v2" if second else _BASES[family]
        noted["ss_v2"] = str(second)
    return noted


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
