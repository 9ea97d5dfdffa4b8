"""Weights, LoRAs and memory of published models: computed without weights, and measured once.

`python -m tests.bench.true_sizes --save` measures; `--table` prints the tables of
configs/README.md.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from memshield.config.file import Config
from memshield.config.memory import contradiction
from memshield.families.lora import pairs
from memshield.forecast.memory import Sizes, peak_memory
from memshield.forecast.presets import PRESETS, settings_of
from tests.bench import common
from tests.bench.published import MODELS, build, family_of, recipe_of, with_lora, write_random
from tests.trained_runs import flags

SIDES = (512, 1024)
MEASURED = {
    "Stable Diffusion 1.5": {},
    "Stable Diffusion XL": {"mixed_precision": "bf16"},
}
"""Models that a step is taken of, and in which precision."""
MEASURED_SIDE = 128
_LATENT = 8
_CHECKPOINTED = {"gradient_checkpointing": True}
_SPARED: dict[str, dict[str, Any]] = {
    "as it stands": {},
    "`gradient_checkpointing: true`": _CHECKPOINTED,
    "`base_quantization: int8` or `fp8`": {"base_quantization": "int8", **_CHECKPOINTED},
    "`base_quantization: nf4`": {"base_quantization": "nf4", **_CHECKPOINTED},
    "`enable_layerwise_casting: true`": {"enable_layerwise_casting": True, **_CHECKPOINTED},
    "`enable_group_offload: true`": {"enable_group_offload": True, **_CHECKPOINTED},
    "`use_8bit_adam: true`": {"use_8bit_adam": True, **_CHECKPOINTED},
    "`use_adafactor: true`": {"use_adafactor": True, **_CHECKPOINTED},
}
_OPTIMIZERS = ("use_8bit_adam", "use_adafactor")
# A child that trains and says how much memory it took.
_CHILD = """
import resource, sys
from memshield.train import main
code = main(sys.argv[1:])
print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
sys.exit(code)
"""


class LoraSize(NamedTuple):
    """A LoRA on the attention projections.

    Attributes:
        modules: that carry one.
        weights: at the rank.
    """

    modules: int
    weights: int


def lora_size(name: str, rank: int) -> LoraSize:
    """The LoRA of a model."""
    trained = {n: p for n, p in with_lora(name, rank).named_parameters() if p.requires_grad}
    return LoraSize(len(pairs(list(trained))), sum(p.numel() for p in trained.values()))


def sizes_of(name: str, config: Config, side: int, has_gpu: bool = True) -> Sizes:
    """What the estimate takes."""
    return Sizes(
        family=family_of(name),
        parameters=MODELS[name]["parameters"],
        positions=(side / _LATENT) ** 2,
        lora=config.training == "lora",
        cached=True,
        has_gpu=has_gpu,
    )


def parameters_of(name: str) -> int:
    """Weights of a model's denoiser, counted."""
    return sum(parameter.numel() for parameter in build(name).parameters())


def rows(measured: dict[str, float]) -> Iterator[str]:
    """The lines of the tables of true sizes in configs/README.md.

    Args:
        measured: peaks in bytes by model.
    """
    yield "| model | weights | LoRA of rank 16 | measured peak of a LoRA step, no GPU, 128 px |"
    yield "|---|---|---|---|"
    for name, model in MODELS.items():
        one = lora_size(name, 16)
        peak = f"{measured[name] / 1e9:.1f} GB" if name in measured else ""
        if name in measured:
            peak += " (bf16)" if MEASURED[name] else " (float32)"
        yield (
            f"| {name} | {model['parameters'] / 1e6:,.0f} M | {one.modules} modules, "
            f"{one.weights / 1e6:.1f} M weights, {one.weights * 4 / 1e6:.0f} MB | {peak} |"
        )
    yield ""
    yield "| recipe, on a GPU | " + " | ".join(f"{side} px" for side in SIDES) + " |"
    yield "|---|" + "---|" * len(SIDES)
    for name, model in MODELS.items():
        recipe = recipe_of(name)
        batch = f"batch {recipe.train_batch_size}"
        yield f"| **{model['recipe'].split('/')[-1]}** ({name}, {batch}) |" + " |" * len(SIDES)
        seen: list[Config] = []
        for words, changes in _SPARED.items():
            config = recipe.model_copy(update=changes)
            optimizer = any(setting in changes for setting in _OPTIMIZERS)
            if contradiction(config) or (optimizer and config.training == "lora"):
                continue
            if config in seen:
                continue  # the recipe has the setting already
            seen.append(config)
            found = [peak_memory(config, sizes_of(name, config, side)) / 1e9 for side in SIDES]
            yield f"| {words} | " + " | ".join(f"{one:.1f} GB" for one in found) + " |"


def preset_rows() -> Iterator[str]:
    """The lines of the table of presets in configs/README.md."""
    yield "| recipe | " + " | ".join(f"`{preset}`" for preset in PRESETS) + " |"
    yield "|---|" + "---|" * len(PRESETS)
    for name, model in MODELS.items():
        if recipe_of(name).training == "lora":
            cells = " | ".join(_cell(preset, name) for preset in PRESETS)
            yield f"| `{model['recipe'].split('/')[-1]}` | {cells} |"


def with_preset(preset: str, name: str) -> Config:
    """The recipe of a model with a preset.

    Raises:
        UserError: it does not fit.
    """
    recipe = recipe_of(name)
    return recipe.model_copy(update=settings_of(preset, family_of(name), recipe))


def _cell(preset: str, name: str) -> str:
    if family_of(name) not in PRESETS[preset]:
        return ""
    config = with_preset(preset, name)
    ways = [
        str(config.base_quantization or ""),
        "group offload" if config.enable_group_offload else "",
        "checkpointing" if config.gradient_checkpointing else "",
        f"batch {config.train_batch_size} x {config.gradient_accumulation_steps}",
    ]
    peak = peak_memory(config, sizes_of(name, config, int(config.resolution or 0))) / 1e9
    return f"{peak:.1f} GB: {', '.join(way for way in ways if way)}"


def measure(name: str, folder: Path) -> int:
    """Bytes at the peak of a training of one LoRA step on the CPU, at a low resolution."""
    base = write_random(name, folder / "base")
    pictures = folder / "pictures"
    pictures.mkdir()
    for index in range(4):
        pixels = np.full((MEASURED_SIDE, MEASURED_SIDE, 3), 40 * index, np.uint8)
        Image.fromarray(pixels).save(pictures / f"{index}.png")
    lines = [f'{{"file_name": "{index}.png", "text": "a picture"}}' for index in range(4)]
    (pictures / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    words = flags(
        pretrained_model_name_or_path=base, train_data_dir=pictures, training="lora",
        resolution=MEASURED_SIDE, num_shards=1, num_rounds=1, max_train_steps=1,
        train_batch_size=1, held_out_fraction=0, num_validation_images=0,
        output_dir=folder / "run", **MEASURED[name],
    )  # fmt: skip
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, *words], cwd=common.ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if child.returncode:
        raise RuntimeError(child.stderr[-2000:])
    return int(child.stdout.split("PEAK")[1])


def main() -> None:
    """Print the tables, or measure."""
    parser = common.arguments_parser("True sizes of published models.")
    parser.add_argument("--table", action="store_true", help="print the tables and measure nothing")
    options = parser.parse_args()
    if options.table:
        peaks = common.RESULTS / "true_sizes_cpu.json"
        import json

        print("\n".join(rows(json.loads(peaks.read_text())["peak_bytes"])))
        print("", *preset_rows(), sep="\n")
        return
    options.device = "cpu"
    found = {}
    for name in MEASURED:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(name, Path(folder))
    config = {"resolution": MEASURED_SIDE, "train_batch_size": 1, **MEASURED}
    common.report("true_sizes_cpu", options, config, peak_bytes=found)


if __name__ == "__main__":
    main()
