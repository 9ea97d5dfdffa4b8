"""`python -m memshield sample RUN`: pictures from a run's model, as stock diffusers makes them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memshield.config import Config, make_config, read_yaml
from memshield.errors import UserError
from memshield.rundir import RunDir


def main(argv: Sequence[str]) -> int:
    """Sample a grid and save it."""
    parser = argparse.ArgumentParser(prog="python -m memshield sample")
    parser.add_argument("run", help="run directory")
    parser.add_argument("--round", type=int, help="round to sample from; the chosen model without")
    parser.add_argument("--prompt", help="for text models")
    parser.add_argument("--num_images", type=int, default=16)
    parser.add_argument("--num_inference_steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="samples.png", help="PNG of the grid")
    options = parser.parse_args(argv)
    run = RunDir(options.run)
    if not run.is_run():
        raise UserError("run", f"{options.run} holds no run", "Give the output_dir of a training.")
    if options.num_images < 1 or options.num_inference_steps < 1:
        raise UserError("num_images", "at least one picture and one step are needed", "")
    config = make_config(read_yaml(run.config))
    folder = run.rounds / str(options.round) if options.round else run.model
    if not folder.is_dir():
        raise UserError("round", f"{folder} is not there yet", "Wait for the run, or name a round.")

    import torch

    from memshield.samples import grid, save_picture

    pipeline = load_pipeline(config, folder)
    images = []
    # Sixteen pictures of 512 px at once, fewer of larger ones.
    at_once = min(16, max(1, 16 * 512**2 // int(config.resolution or 512) ** 2))
    for start in range(0, options.num_images, at_once):
        end = min(start + at_once, options.num_images)
        seeds = range(options.seed + start, options.seed + end)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        kwargs: dict[str, Any] = {"num_inference_steps": options.num_inference_steps}
        if config.training == "lora" or hasattr(pipeline, "tokenizer"):
            kwargs["prompt"] = [options.prompt or ""] * len(seeds)
        else:
            kwargs["batch_size"] = len(seeds)
        images += pipeline(generator=generators, **kwargs).images
    save_picture(grid(images, math.ceil(math.sqrt(len(images)))), Path(options.output).absolute())
    print(options.output)
    return 0


def load_pipeline(config: Config, folder: Path) -> Any:
    """A saved round as a ready pipeline: a whole one, or the base with the LoRA on it."""
    import torch

    from memshield.pipelines import open_pipeline

    if config.training == "lora":
        pipeline = open_pipeline(
            folder,
            config.pretrained_model_name_or_path,
            revision=config.revision,
            variant=config.variant,
        )
    else:
        pipeline = open_pipeline(folder, None)
    return pipeline.to("cuda" if torch.cuda.is_available() else "cpu")
