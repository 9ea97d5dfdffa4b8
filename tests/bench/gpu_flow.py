"""What only a GPU can tell of the flow-matching families; `tests.bench.gpu` says what and why.

The memory of a device is that of tensors at their peak and what CUDA takes for itself. Nobody else
may be on the card.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from memshield.config.file import Config
from memshield.forecast.memory import peak_memory, step_memory
from memshield.forecast.plan import sizes_of
from memshield.forecast.presets import PRESETS, preset_bytes
from tests.bench.cached import stepping
from tests.bench.common import interleaved_medians
from tests.bench.gpu_models import Size, flow_folder
from tests.bench.gpu_peaks import forget, peak_of_tensors, peaks_of, short_run
from tests.bench.published import family_of, recipe_of
from tests.bench.setting import Setting, set_up
from tests.bench.true_sizes import with_preset
from tests.tiny import image_folder

_PICTURES = 16  # two for each of 8 shards
_CAPTION = "a picture of a fox " * 60  # more than any encoder takes: captions are at their longest
_WARM_UP, _REPEATS = 2, 10  # a step is of four batches, which take seconds each
_SOLD_AS = 0.9  # a card of 16 GB has a little less than 16 GB of memory
_OF_A_DATASET = ("dataset_name", "output_dir", "validation_prompts", "mixed_precision")


def preset_steps(
    name: str, size: Size, device: str, presets: Sequence[str] = tuple(PRESETS)
) -> dict[str, Any]:
    """A LoRA's step on a model by each preset that it has and that the card has the memory for."""
    fitting = [
        preset
        for preset in presets
        if family_of(name) in PRESETS[preset]
        and _SOLD_AS * preset_bytes(preset) <= _memory_of(device)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = _prepared(Path(scratch), name, size)
        return {
            preset: _within(folder, with_preset(preset, name), size, device, preset_bytes(preset))
            for preset in fitting
        }


def cost_and_saving(
    name: str, size: Size, device: str, setting: str = "enable_group_offload"
) -> dict[str, Any]:
    """A LoRA's step without a setting and with it, all else alike; {} where one would not fit."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = _prepared(Path(scratch), name, size)
        plain = recipe_of(name).model_copy(
            update={
                "train_batch_size": 1,
                "gradient_accumulation_steps": 1,
                "gradient_checkpointing": True,
            }
        )
        without = _step(folder, plain, size, device)
        if without is None:
            return {}
        with_it = _step(folder, plain.model_copy(update={setting: True}), size, device)
    assert with_it is not None
    return {
        "without": without,
        "with": with_it,
        "seconds_ratio": with_it["seconds"] / without["seconds"],
        "saved_bytes": _difference(without, with_it, "peak_bytes"),
        "saved_bytes_estimated": _difference(without, with_it, "estimated_bytes"),
    }


def flow_shards(name: str, size: Size, device: str) -> dict[str, Any]:
    """Peaks of the same LoRA training with 1 and 8 shards, by the model's recipe."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = _prepared(Path(scratch), name, size)
        recipe = recipe_of(name).model_copy(
            update={"train_batch_size": 1, "gradient_accumulation_steps": 1}
        )

        def make(count: int) -> Setting:
            settings = {**_settings(folder, recipe, size), **short_run(count)}
            return set_up(folder / f"run-{count}", device, **settings)

        return peaks_of((1, 8), make, device)


def _prepared(folder: Path, name: str, size: Size) -> Path:
    """A folder with a model and pictures of the size that it is trained on."""
    flow_folder(folder / "base", name, size)
    side = size.flow_side or int(recipe_of(name).resolution or 0)
    image_folder(folder / "pictures", _PICTURES, side, [_CAPTION] * _PICTURES)
    return folder


def _settings(folder: Path, config: Config, size: Size) -> dict[str, Any]:
    """Those of a recipe, in one shard, on what `_prepared` made."""
    kept = config.model_dump(exclude_defaults=True, exclude=set(_OF_A_DATASET))
    return {
        **kept,
        "mixed_precision": config.mixed_precision,
        "pretrained_model_name_or_path": folder / "base",
        "train_data_dir": folder / "pictures",
        "resolution": size.flow_side or config.resolution,
        "num_shards": 1,
        "num_rounds": 1,
        "held_out_fraction": 0,
        "lr_warmup_steps": 0,
    }


def _within(folder: Path, config: Config, size: Size, device: str, limit: int) -> dict[str, Any]:
    """A step with so many bytes of the device, as if it had no more; else with all it has."""
    with _limited_to(limit, device):
        found = _step(folder, config, size, device)
    if found is not None:
        return {"fits": True, **found}
    return {"fits": False, **(_step(folder, config, size, device) or {})}


def _step(folder: Path, config: Config, size: Size, device: str) -> dict[str, Any] | None:
    """A LoRA's step on cached encodings; None where the device's memory does not suffice.

    Returns:
        "seconds" of an optimizer step, all micro-batches; "peak_bytes" of steps and
        "encoding_bytes" before them, from loading on; "ratio" of the steps' to the estimate;
        "estimated_bytes" of steps, and "planned_bytes", which are what `plan` says: text encoders
        are in it, which are small here and leave the device before the steps.
    """
    forget(device)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        os.environ["MEMSHIELD_CACHE"] = str(Path(scratch) / "cache")
        try:
            setting = set_up(Path(scratch) / "run", device, **_settings(folder, config, size))
            encoding = peak_of_tensors(device)
            forget(device)
            seconds = interleaved_medians(
                {"step": stepping(setting)}, min(_REPEATS, size.repeats), device, _WARM_UP
            )["step"]
        except torch.OutOfMemoryError:
            return None
        # Libraries have taken theirs by now.
        peak, own = peak_of_tensors(device), _taken_by_cuda(device)
        prepared = setting.prepared
    sizes = sizes_of(prepared.config, prepared.facts, prepared.examples)
    estimated = step_memory(prepared.config, sizes)
    return {
        "seconds": seconds,
        "peak_bytes": None if peak is None else peak + own,
        "encoding_bytes": None if encoding is None else encoding + own,
        "estimated_bytes": estimated,
        "planned_bytes": peak_memory(prepared.config, sizes),
        "ratio": None if peak is None else (peak + own) / estimated,
    }


def _difference(one: Mapping[str, Any], other: Mapping[str, Any], figure: str) -> float | None:
    return None if one[figure] is None else one[figure] - other[figure]


def _memory_of(device: str) -> float:
    if not device.startswith("cuda"):
        return float("inf")
    return float(torch.cuda.get_device_properties(device).total_memory)


def _taken_by_cuda(device: str) -> int:
    """Bytes of the device that are no tensors', nor kept for them."""
    if not device.startswith("cuda"):
        return 0
    torch.zeros(1, device=device)  # CUDA begins with the first
    free, total = torch.cuda.mem_get_info()
    return int(total - free - torch.cuda.memory_reserved())


@contextmanager
def _limited_to(limit: int, device: str) -> Iterator[None]:
    """Tensors get no more of a GPU than a card of so many bytes would leave them."""
    if not device.startswith("cuda"):
        yield
        return
    forget(device)
    share = (limit - _taken_by_cuda(device)) / _memory_of(device)
    torch.cuda.set_per_process_memory_fraction(min(1.0, share))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
