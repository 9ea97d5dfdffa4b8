"""Tests of memshield.data, and the small datasets that they open."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from memshield.config.file import Config, make_config
from tests.tiny import Pixels


def encode(pixels: Pixels, kind: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def save_set(folder: Path, stored: Sequence[Pixels | bytes], **columns: Sequence[Any]) -> Path:
    """A folder of save_to_disk: column `image` (PNG, or the bytes given) and further columns."""
    import datasets

    files = [encode(item) if isinstance(item, np.ndarray) else item for item in stored]
    images = [{"bytes": file, "path": None} for file in files]
    table = datasets.Dataset.from_dict({"image": images, **columns})
    table.cast_column("image", datasets.Image()).save_to_disk(folder)
    return folder


def settings(dataset: Path | str, **changes: Any) -> Config:
    """A small config of a dataset; the model is never looked at."""
    needed = {"pretrained_model_name_or_path": "a/model", "dataset_name": str(dataset)}
    return make_config({**needed, "num_shards": 2, "train_batch_size": 2, **changes})
