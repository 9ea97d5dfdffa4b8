"""A grid of samples a round, from the same seeds every time, so that rounds can be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from memshield.config.file import Config
from memshield.families.base import Family
from memshield.families.pixels import to_bytes
from memshield.randomness import Purpose, torch_seed
from memshield.rundir import RunDir
from memshield.training.setup import Setup

_SMALLEST_CELL = 48
_BATCH = 16


def grid(images: Sequence[Image.Image], columns: int) -> Image.Image:
    """Pictures of one size side by side; small ones are enlarged smoothly."""
    width, height = images[0].size
    scale = max(1, math.ceil(_SMALLEST_CELL / width))
    cell = (width * scale, height * scale)
    gap = 2
    rows = math.ceil(len(images) / columns)
    sheet = Image.new(
        "RGB", (columns * (cell[0] + gap) + gap, rows * (cell[1] + gap) + gap), "white"
    )
    for i, image in enumerate(images):
        corner = (gap + i % columns * (cell[0] + gap), gap + i // columns * (cell[1] + gap))
        sheet.paste(image.resize(cell, Image.Resampling.BICUBIC), corner)
    return sheet


def as_picture(values: npt.NDArray[np.float32]) -> Image.Image:
    """A sample [H, W, C] in [0, 1] as a grey or colour picture; what is no number is black."""
    pixels = to_bytes(values)
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def make_grid(family: Family, config: Config, prompts: Sequence[str] | None) -> Image.Image | None:
    """Sample with the weights as they are: one row a prompt, or a square without prompts."""
    count = config.num_validation_images or 0
    if count == 0:
        return None
    wanted = [(prompt, i) for prompt in prompts or [""] for i in range(count)]
    images: list[Image.Image] = []
    for start in range(0, len(wanted), _BATCH):
        part = wanted[start : start + _BATCH]
        seeds = [torch_seed(config.seed, Purpose.SAMPLE, i) for _, i in part]
        texts = [prompt for prompt, _ in part] if prompts else None
        images += map(as_picture, family.sample(seeds, texts, config.num_inference_steps))
    return grid(images, count if prompts else math.ceil(math.sqrt(count)))


def grid_file(run: RunDir, round: int) -> Path:
    """Where the grid of a round is."""
    return run.samples / f"round-{round:04d}.png"


def save_grid(setup: Setup, round: int) -> str | None:
    """Make the grid of a round; its path in the run directory, or None where none is wanted."""
    image = make_grid(setup.family, setup.config, setup.prompts)
    if image is None:
        return None
    path = grid_file(setup.run, round)
    save_picture(image, path)
    return str(path.relative_to(setup.run.path))


def save_picture(image: Image.Image, path: Path) -> None:
    """Write a PNG whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    try:
        image.save(aside, format="PNG")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
