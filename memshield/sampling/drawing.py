"""Samples pictures with a stock diffusers pipeline and compares them on the way."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from memshield.audit.images import Pixels
from memshield.families.kinds import told_length
from memshield.families.pipelines import guidance_of
from memshield.families.pixels import to_bytes
from memshield.sampling.nearness import CopyWatch
from memshield.sampling.record import Made, Nearness, Recorder
from memshield.sampling.request import ImageRequest
from memshield.sampling.target import SampledModel
from memshield.training.sample_grid import as_picture, save_picture

_AT_ONCE = {"cuda": 16 * 512**2, "cpu": 4 * 64**2}
"""Pixels in a batch. A CPU gains little from batches, and single pictures are seen earlier."""
_AT_MOST = 16


def draw(
    pipeline: Any,
    request: ImageRequest,
    target: SampledModel,
    watch: CopyWatch | None,
    recorder: Recorder,
    folder: Path | None,
    keep: bool = True,
) -> list[Image.Image]:
    """Draw all pictures, write them down and compare them.

    Args:
        pipeline: on its device.
        request: which pictures.
        target: the model, whose pipeline it is.
        watch: compares them; None for no comparison.
        recorder: is told of each.
        folder: for the files; None for none.
        keep: whether the pictures are wanted; many large ones take much memory.

    Returns:
        The pictures in order; none unless they are kept.
    """
    steps = min(request.steps, int(pipeline.scheduler.config.num_train_timesteps))
    recorder.note(stage="drawing", steps=steps)
    kept: list[Image.Image] = []
    waiting: list[Pixels] = []
    at_once = _at_once(pipeline.device.type, target.resolution)
    for part in _batches(request.pictures(), at_once):
        values = _sample(pipeline, part, steps, target, recorder)
        first = len(recorder.samples.pictures)
        made = [
            _made(first + i, *part[i], broken=not np.isfinite(one).all())
            for i, one in enumerate(values)
        ]
        pictures = [as_picture(value) for value in values]
        for one, picture in zip(made, pictures, strict=True):
            if folder is not None:
                save_picture(picture, folder / one.file)
        if keep:
            kept += pictures
        recorder.note(step=0, pictures=(*recorder.samples.pictures, *made))
        if watch is not None:
            waiting += [to_bytes(value).transpose(2, 0, 1) for value in values]
        if watch is not None and watch.at_hand:
            _compare(watch, first, waiting, recorder, folder)
            waiting = []
    if watch is not None and waiting:
        # One pass over a training set that is read from the disk anew every time.
        recorder.note(stage="comparing")
        _compare(watch, 0, waiting, recorder, folder)
    return kept


def _at_once(device: str, resolution: int | None) -> int:
    room = _AT_ONCE.get(device, _AT_ONCE["cpu"])
    return min(_AT_MOST, max(1, room // int(resolution or 512) ** 2))


def _batches(
    wanted: Sequence[tuple[int, str | None]], size: int
) -> Iterator[Sequence[tuple[int, str | None]]]:
    for start in range(0, len(wanted), size):
        yield wanted[start : start + size]


def _sample(
    pipeline: Any,
    part: Sequence[tuple[int, str | None]],
    steps: int,
    target: SampledModel,
    recorder: Recorder,
) -> list[npt.NDArray[np.float32]]:
    """Pictures [H, W, C] in [0, 1] from their seeds and prompts."""
    arguments: dict[str, Any] = {"num_inference_steps": steps, "output_type": "np"}
    if target.text:
        arguments["prompt"] = [prompt or "" for _, prompt in part]
        arguments |= guidance_of(pipeline, len(part))
        length = told_length(type(pipeline).__name__, target.prompt_tokens)
        if length is not None:
            arguments["max_sequence_length"] = length
        if target.resolution is not None:
            arguments |= {"height": target.resolution, "width": target.resolution}
    else:
        arguments["batch_size"] = len(part)
    if "callback_on_step_end" in inspect.signature(pipeline.__call__).parameters:

        def told(_: Any, step: int, __: Any, values: dict[str, Any]) -> dict[str, Any]:
            recorder.at_step(step + 1)
            return values

        arguments["callback_on_step_end"] = told
    generators = [torch.Generator().manual_seed(seed) for seed, _ in part]
    return list(pipeline(generator=generators, **arguments).images)


def _made(place: int, seed: int, prompt: str | None, broken: bool) -> Made:
    return Made(file=f"{place:04d}.png", seed=seed, prompt=prompt, broken=bool(broken))


def _compare(
    watch: CopyWatch, first: int, pictures: list[Pixels], recorder: Recorder, folder: Path | None
) -> None:
    """Note the warnings of the pictures from place `first` on."""
    shape = watch.reference.training.shape[1:]
    if pictures[0].shape != shape:
        recorder.note(
            compared=None, rule=None,
            not_compared=f"The pictures have {_size(pictures[0].shape)} and the training pictures "
            f"{_size(shape)}: they cannot be compared.",
        )  # fmt: skip
        return
    known = list(recorder.samples.pictures)
    for i, warning in enumerate(watch.look(np.stack(pictures))):
        place = first + i
        if not known[place].broken:
            shown = _with_picture(watch, warning, pictures[i], known[place].file, folder)
            known[place] = known[place].model_copy(update={"warning": shown})
    recorder.note(pictures=tuple(known))


def _with_picture(
    watch: CopyWatch, warning: Nearness, picture: Pixels, file: str, folder: Path | None
) -> Nearness:
    """A warning with the training picture beside it, for its owner to judge by."""
    if folder is None or warning.level == "none":
        return warning
    pixels = watch.training_picture(warning, picture)
    name = file.replace(".png", "-nearest.png")
    shown = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    save_picture(shown, folder / name)
    return warning.model_copy(update={"nearest": name})


def _size(shape: Sequence[int]) -> str:
    return f"{shape[2]} x {shape[1]} pixels in {'grey' if shape[0] == 1 else 'colour'}"


def columns_of(request: ImageRequest) -> int:
    """Columns of the grid: one row for each prompt, or a square."""
    return (
        request.num_images if len(request.prompts) > 1 else math.ceil(math.sqrt(request.num_images))
    )
