"""SHA-256 of files, of texts and of a model's trained weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

LORA = "pytorch_lora_weights.safetensors"
"""The file that `load_lora_weights` reads."""
NETWORKS = ("unet", "transformer")
"""The folders of a pipeline that hold what training changes."""


def file_sha256(path: Path) -> str:
    """Hex digest of a file of any size, in little memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def trained_files(folder: Path) -> list[Path]:
    """The safetensors files of a saved model that training changed: its LoRA, or its network."""
    lora = folder / LORA
    if lora.is_file():
        return [lora]
    return [path for name in NETWORKS for path in sorted((folder / name).glob("*.safetensors"))]


def weights_sha256(folder: Path) -> str:
    """One digest over the trained weights of a saved model.

    It ties an audit to the weights that were audited.
    """
    return combined(
        {path.relative_to(folder).as_posix(): file_sha256(path) for path in trained_files(folder)}
    )


def texts_sha256(texts: Sequence[str]) -> str:
    """One digest over texts in their order."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def combined(digests: dict[str, str]) -> str:
    """One digest over those of several files by path, whatever their order."""
    lines = "".join(f"{path} {digest}\n" for path, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
