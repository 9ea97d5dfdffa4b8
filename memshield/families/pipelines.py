"""A saved model as a ready pipeline of stock diffusers: a whole one, or a LoRA on its base."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from memshield.digests import LORA
from memshield.paths import expanded


def open_pipeline(
    folder: Path, base: str | None, vae: str | Path | None = None, **options: Any
) -> Any:
    """Load a saved model, with safetensors weights only.

    Args:
        folder: as `save_pretrained` or `save_lora_weights` left it.
        base: id or folder of the pipeline that a LoRA goes on; None for a whole pipeline.
        vae: id or folder of a VAE instead of the pipeline's own; None for that.
        options: of `from_pretrained`, such as the base's revision and variant.
    """
    from diffusers import AutoencoderKL, DDIMScheduler, DDPMPipeline, DiffusionPipeline

    if vae is not None:
        kept = {name: options[name] for name in ("torch_dtype", "token") if name in options}
        options["vae"] = AutoencoderKL.from_pretrained(_place(vae), use_safetensors=True, **kept)
    whole = folder if base is None else _place(base)
    pipeline = DiffusionPipeline.from_pretrained(whole, use_safetensors=True, **options)
    if base is not None:
        pipeline.load_lora_weights(folder, weight_name=LORA)
    if isinstance(pipeline, DDPMPipeline):
        # DDPM's own sampler wants all of its steps; DDIM is good with a few.
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    return pipeline


def _place(name: str | Path) -> str | Path:
    """A folder of this machine with ~ as the home folder; what is none, such as an id, as it is."""
    path = expanded(name)
    return path if path.is_dir() else name


def guidance_of(pipeline: Any, count: int) -> dict[str, Any]:
    """What a pipeline has to be told, beside so many prompts, to guide as its authors do."""
    # Qwen-Image guides only where it is given what to guide away from.
    if "true_cfg_scale" in inspect.signature(pipeline.__call__).parameters:
        return {"negative_prompt": [" "] * count}
    return {}
