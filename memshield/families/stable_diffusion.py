"""Stable Diffusion 1.x and 2.x (epsilon and v_prediction): the UNet in full, or a LoRA on it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from memshield.config import Config
from memshield.families import lora
from memshield.families.base import (
    Draw,
    Encoded,
    Family,
    Pictures,
    Placement,
    SampleLoss,
    evaluating,
)
from memshield.families.diffusion import DiffusionProcess
from memshield.families.facts import Facts
from memshield.families.repository import weight_patterns

FROZEN = ("vae", "text_encoder", "safety_checker", "tokenizer", "scheduler", "feature_extractor")


class StableDiffusion(Family):
    """Trains a UNet2DConditionModel on latents, conditioned on CLIP text embeddings."""

    has_encoders = True

    def __init__(self, config: Config, facts: Facts, placement: Placement) -> None:
        super().__init__(config, facts, placement)
        assert facts.repository is not None
        variant = config.variant
        self.lora = config.training == "lora"
        # The safety checker is needed only to write a whole pipeline again.
        fetched = [part for part in FROZEN if not (self.lora and part == "safety_checker")]
        patterns = [p for part in ("unet", *fetched) for p in weight_patterns(part, variant)]
        self.base = facts.repository.fetch(["model_index.json", *patterns])
        weights = {"use_safetensors": True, "variant": variant}
        self.tokenizer = CLIPTokenizer.from_pretrained(self.base / "tokenizer")
        self.text_encoder = CLIPTextModel.from_pretrained(
            self.base / "text_encoder", dtype=self.frozen_dtype, **weights
        )
        if facts.vae_repository is None:
            self.vae = AutoencoderKL.from_pretrained(
                self.base, subfolder="vae", torch_dtype=self.frozen_dtype, **weights
            )
        else:
            folder = facts.vae_repository.fetch(["config.json", "*.safetensors"])
            self.vae = AutoencoderKL.from_pretrained(
                folder, torch_dtype=self.frozen_dtype, use_safetensors=True
            )
        self.unet = UNet2DConditionModel.from_pretrained(self.base, subfolder="unet", **weights)
        self.text_encoder.requires_grad_(False).eval().to(self.device)
        self.vae.requires_grad_(False).eval().to(self.device)
        if self.lora:
            lora.attach(self.unet, config, self.frozen_dtype)
        else:
            self.unet.float()
        self.unet.to(self.device)
        if config.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        self.network = self.unet
        self.scheduler = DDPMScheduler.from_config(facts.scheduler)
        self.process = DiffusionProcess(self.scheduler, config.snr_gamma, config.noise_offset)
        self.num_slots = self.process.num_timesteps

    @torch.no_grad()
    def encode_pictures(self, pictures: Pictures) -> Encoded:
        """Moments [B, 2 C, h, w] of the latents: mean and log variance, not one sample."""
        pixels = pictures.pixels.to(self.device, non_blocking=True).float().div_(127.5).sub_(1.0)
        posterior = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist
        return {"moments": posterior.parameters}

    @torch.no_grad()
    def encode_captions(self, captions: Sequence[str]) -> Encoded:
        """CLIP embeddings [B, tokens, width]; longer captions are cut, as everywhere."""
        tokens = self.tokenizer(
            list(captions),
            max_length=self.tokenizer.model_max_length,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return {"text": self.text_encoder(tokens.to(self.device), return_dict=False)[0]}

    def release_encoders(self) -> None:
        """Move the VAE and the text encoder to the host."""
        self.vae.to("cpu")
        self.text_encoder.to("cpu")

    def draw(self, encoded: Encoded, generator: torch.Generator) -> Draw:
        """A latent sampled from its moments, noise and timesteps."""
        mean, log_variance = encoded["moments"].float().chunk(2, dim=1)
        # As diffusers' DiagonalGaussianDistribution, which clamps to the same range.
        deviation = torch.exp(0.5 * log_variance.clamp(-30.0, 20.0))
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        latents = (mean + deviation * noise) * self.vae.config.scaling_factor
        return self.process.draw(latents, generator)

    def loss(self, network: nn.Module, encoded: Encoded, draw: Draw) -> SampleLoss:
        """The denoising loss of every sample, in the frozen precision where that is lower."""
        dtype = self.frozen_dtype if self.lora else torch.float32
        text = encoded["text"].to(dtype)
        return self.process.loss(
            lambda noisy, t: network(noisy.to(dtype), t, text, return_dict=False)[0], draw
        )

    def sample(
        self, seeds: Sequence[int], prompts: Sequence[str] | None, steps: int
    ) -> list[Image.Image]:
        """Pictures by DDIM with guidance 7.5, one a seed and prompt."""
        on_device = self.vae.device, self.text_encoder.device
        pipeline = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            # Latents are not in [-1, 1]: they must not be clipped.
            scheduler=DDIMScheduler.from_config(
                self.facts.scheduler, clip_sample=False, set_alpha_to_one=False, steps_offset=1
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).to(self.device)
        pipeline.set_progress_bar_config(disable=True)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        size = self.config.resolution
        try:
            with (
                evaluating(self.unet),
                torch.autocast(
                    self.device.type, self.frozen_dtype, enabled=self.frozen_dtype != torch.float32
                ),
            ):
                images = pipeline(
                    list(prompts or [""] * len(seeds)),
                    height=size,
                    width=size,
                    generator=generators,
                    num_inference_steps=min(steps, self.process.num_timesteps),
                ).images
        finally:
            self.vae.to(on_device[0])
            self.text_encoder.to(on_device[1])
        return list(images)

    def save(self, folder: Path, previous: Path | None = None) -> None:
        """LoRA weights for `load_lora_weights`, or a whole pipeline for `from_pretrained`."""
        if self.lora:
            StableDiffusionPipeline.save_lora_weights(
                folder, unet_lora_layers=lora.exported_state(self.unet, self.config)
            )
            return
        self._copy_frozen(folder, previous)
        self.unet.save_pretrained(folder / "unet")

    def _copy_frozen(self, folder: Path, previous: Path | None) -> None:
        """The base's own files, byte for byte: nothing it names is lost or renamed by saving."""
        assert self.facts.repository is not None
        infix = f".{self.config.variant}" if self.config.variant else ""
        for source in sorted(self.base.rglob("*")):
            path = source.relative_to(self.base)
            wanted = len(path.parts) == 2 and path.parts[0] in FROZEN
            if not source.is_file() or not (wanted or path.as_posix() == "model_index.json"):
                continue
            if source.suffix == ".safetensors" and infix and infix not in source.name:
                continue
            if source.suffix not in (".json", ".txt", ".safetensors"):
                continue
            if self.facts.vae_repository is not None and path.parts[0] == "vae":
                continue
            target = folder / path.with_name(
                path.name.replace(f"{infix}.safetensors", ".safetensors")
            )
            target.parent.mkdir(exist_ok=True)
            link_or_copy(
                previous / target.relative_to(folder) if previous else None, source, target
            )
        if self.facts.vae_repository is not None:
            self.vae.save_pretrained(folder / "vae")
        if self.config.prediction_type is not None:
            path = folder / "scheduler" / "scheduler_config.json"
            settings = json.loads(path.read_text(encoding="utf-8"))
            path.unlink()  # it may be linked: write a file of our own
            settings["prediction_type"] = self.config.prediction_type
            path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def link_or_copy(earlier: Path | None, source: Path, target: Path) -> None:
    """`target` as a hard link to an earlier copy of ours, else a copy of `source`.

    Never a link to the source itself: it may be a shared cache, which a user who writes into a
    saved model must not change.
    """
    if earlier is not None and earlier.is_file():
        try:
            os.link(earlier, target)
            return
        except OSError:
            pass  # another file system, or one without links
    shutil.copyfile(source, target)
