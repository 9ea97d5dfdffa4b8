"""model_index.json of a saved pipeline: which parts it has, and that each has its weights."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from memshield.digests import LORA
from memshield.families.kinds import WITHOUT_WEIGHTS

NAME = "model_index.json"
_LIBRARIES = ("diffusers", "transformers")
_SAFETY_CHECKER = ["stable_diffusion", "StableDiffusionSafetyChecker"]
"""Of Stable Diffusion 1.x: diffusers' own, which names the folder of its pipeline."""
_WEIGHTS = re.compile(r"(diffusion_pytorch_)?model(-\d{5}-of-(?P<count>\d{5}))?\.safetensors")
_CODE_KEYS = ("auto_map", "custom_pipelines", "trust_remote_code")
"""Settings by which libraries are led to run a repository's own code."""


def read_index(text: str) -> tuple[str, tuple[str, ...]]:
    """Class and parts of a pipeline.

    Raises:
        ValueError: it is no index, or names code that is not diffusers' or transformers' own.
    """
    try:
        values = dict(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        raise ValueError(f"{NAME} is not valid") from None
    kind = values.get("_class_name")
    if not isinstance(kind, str):
        raise ValueError(f"{NAME} names no class of diffusers")
    parts = []
    for name, entry in values.items():
        if not isinstance(entry, list) or entry == [None, None]:
            continue
        if all(isinstance(one, int) for one in entry):
            continue  # a setting, such as the layers that a text encoder is asked for
        own = len(entry) == 2 and entry[0] in _LIBRARIES and isinstance(entry[1], str)
        if not own and entry != _SAFETY_CHECKER:
            raise ValueError(f"{NAME} names code of another library for {name}")
        parts.append(name)
    return kind, tuple(parts)


def lacking(parts: Collection[str], files: Collection[str]) -> list[str]:
    """Parts of a pipeline whose safetensors weights, or settings, are not all there."""
    missing = []
    for part in parts:
        inside = [file.removeprefix(f"{part}/") for file in files if file.startswith(f"{part}/")]
        if part.startswith(WITHOUT_WEIGHTS):
            whole = bool(inside)
        else:
            weights = [match for match in map(_WEIGHTS.fullmatch, inside) if match]
            counts = {int(match["count"] or 1) for match in weights}
            whole = counts == {len(weights)} and "config.json" in inside
        if not whole:
            missing.append(part)
    return missing


def is_whole(files: Collection[str], parts: Collection[str] | None) -> str | None:
    """What a saved model lacks, in words; None where it is whole.

    Args:
        files: paths of the model.
        parts: of its pipeline; None for a LoRA alone.
    """
    if parts is None:
        return None if LORA in files else f"{LORA} is missing"
    missing = lacking(parts, files)
    return f"the weights of {', '.join(missing)} are missing" if missing else None


def code_in(settings: Mapping[str, Any]) -> str | None:
    """The setting by which a repository's own code would be run, if there is one."""
    return next((key for key in _CODE_KEYS if settings.get(key)), None)
