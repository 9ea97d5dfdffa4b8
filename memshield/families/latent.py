"""Latent diffusion under a CLIP-conditioned UNet: what Stable Diffusion and SDXL share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTokenizer

from memshield.config.file import Config
from memshield.families import lora, memory
from memshield.families.base import Draw, Encoded, Family, Pictures, Placement, SampleLoss
from memshield.families.diffusion import DDIMSteps, DiffusionProcess, Predictor
from memshield.families.facts import Facts, training_files
from memshield.families.frozen import copy_frozen
from memshield.families.kinds import TEXT_ENCODERS
from memshield.families.pixels import from_network, to_network
from memshield.families.saved import load_weights
from memshield.families.turns import DeviceTurns

_SAMPLED_AT_ONCE = 16 * 512**2
"""Pixels: larger pictures are sampled in smaller batches."""
_MOST_PROMPTS = 256
"""Kept encoded: those of SDXL take a megabyte each."""


class LatentDiffusion(Family):
    """Trains a UNet2DConditionModel on latents, conditioned on text: in full, or a LoRA on it.

    Attributes:
        pipeline_class: the stock pipeline that samples and loads it.
        encoder_classes: of its text encoders, in the order of `TEXT_ENCODERS`.
        base: local folder of the base pipeline.
        vae: the frozen autoencoder.
    """

    pipeline_class: ClassVar[Any]
    encoder_classes: ClassVar[tuple[Any, ...]]

    def __init__(self, config: Config, facts: Facts, placement: Placement) -> None:
        super().__init__(config, facts, placement)
        self.lora = config.training == "lora"
        self.base, self._vae_folder = self._fetch()
        weights = {"use_safetensors": True, "variant": config.variant}
        self._parts: dict[str, Any] = {}
        for name, kind in zip(TEXT_ENCODERS[facts.family], self.encoder_classes, strict=True):
            self._parts[name] = kind.from_pretrained(
                self.base / name, dtype=self.frozen_dtype, **weights
            )
            tokenizer = name.replace("text_encoder", "tokenizer")
            self._parts[tokenizer] = CLIPTokenizer.from_pretrained(self.base / tokenizer)
        own_vae = facts.vae_repository is None
        self.vae = self._parts["vae"] = AutoencoderKL.from_pretrained(
            self._vae_folder,
            torch_dtype=self._vae_dtype(),
            use_safetensors=True,
            variant=config.variant if own_vae else None,
        )
        if config.enable_vae_slicing:
            self.vae.enable_slicing()
        if config.enable_vae_tiling:
            self.vae.enable_tiling()
        frozen = [part for part in self._parts.values() if isinstance(part, nn.Module)]
        for part in frozen:
            part.requires_grad_(False).eval()
        self.vae.to(self.device)
        # A LoRA's base is never held in more than it is run in, not even while it is read.
        dtype = self.frozen_dtype if self.lora else torch.float32
        unet = UNet2DConditionModel.from_pretrained(
            self.base,
            subfolder="unet",
            torch_dtype=dtype,
            **weights,
            **memory.quantized(config, dtype),
        )
        if self.lora:
            lora.attach(unet, config, lora.targets_of(facts))
        self._take(unet)
        text = [part for part in frozen if part is not self.vae]
        self._turns = DeviceTurns(unet, text, self.device)
        self._prompts: dict[str, tuple[Tensor, ...]] = {}
        self.scheduler = DDPMScheduler.from_config(facts.scheduler)
        self.process = DiffusionProcess.of(config, self.scheduler)
        self.num_slots = self.process.num_timesteps

    def _fetch(self) -> tuple[Path, Path]:
        """Local folders of the base and of the VAE."""
        repository, vae_repository = self.facts.repository, self.facts.vae_repository
        assert repository is not None
        base = repository.fetch(training_files(self.config, self.facts))
        if vae_repository is None:
            return base, base / "vae"
        return base, vae_repository.fetch(vae_repository.component_files("", None))

    def _vae_dtype(self) -> torch.dtype:
        """The precision that the VAE is held and run in."""
        return self.frozen_dtype

    @abstractmethod
    def _conditions(self, encoded: Encoded, dtype: torch.dtype) -> dict[str, Any]:
        """What the UNet is given beside noisy latents and timesteps, as keyword arguments."""

    @abstractmethod
    def _pipeline_settings(self) -> dict[str, Any]:
        """Arguments of the stock pipeline that are no components."""

    @torch.no_grad()
    def encode_pictures(self, pictures: Pictures) -> Encoded:
        """Moments [B, 2 C, h, w] of the latents: mean and log variance, not one sample."""
        pixels = to_network(pictures.pixels, self.device)
        posterior = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist
        return {"moments": posterior.parameters}

    def _tokens(self, name: str, captions: Sequence[str]) -> Tensor:
        """Token ids [B, tokens] for a text encoder, which is on the device from then on.

        Longer captions are cut, as everywhere.
        """
        self._turns.take("text")
        tokenizer = self._parts[name.replace("text_encoder", "tokenizer")]
        tokens: Tensor = tokenizer(
            list(captions),
            max_length=tokenizer.model_max_length,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return tokens.to(self.device)

    @classmethod
    def count_tokens(
        cls, config: Config, facts: Facts, captions: Sequence[str]
    ) -> tuple[list[int], int]:
        """Those of CLIP, its marks of beginning and end included."""
        tokenizer = CLIPTokenizer.from_pretrained(facts.fetch_part("tokenizer"))
        tokens = tokenizer(list(captions), verbose=False).input_ids
        return [len(one) for one in tokens], int(tokenizer.model_max_length)

    def release_text_encoders(self) -> None:
        """Have the network on the device in their place."""
        self._turns.take("network")

    def release_encoders(self) -> None:
        """Move the VAE and the text encoders to the host."""
        self.release_text_encoders()
        self.vae.to("cpu")

    def noise_levels(self) -> Tensor:
        """Those of its schedule."""
        return self.process.noise_levels()

    def draw(
        self, encoded: Encoded, generator: torch.Generator, level: Tensor | None = None
    ) -> Draw:
        """A latent sampled from its moments, noise and timesteps."""
        mean, log_variance = encoded["moments"].float().chunk(2, dim=1)
        # As diffusers' DiagonalGaussianDistribution, which clamps to the same range.
        deviation = torch.exp(0.5 * log_variance.clamp(-30.0, 20.0))
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        latents = (mean + deviation * noise) * self.vae.config.scaling_factor
        return self.process.draw(latents, generator, level)

    def predict(self, encoded: Encoded, draw: Draw) -> Tensor:
        """Epsilon, or v, in the frozen precision where that is lower."""
        return self.process.predict(self._predictor(self.network, encoded), draw)

    def loss(self, prediction: Tensor, draw: Draw) -> SampleLoss:
        """The denoising loss of every sample."""
        return self.process.loss(prediction, draw)

    def _predictor(self, network: nn.Module, encoded: Encoded) -> Predictor:
        self._turns.take("network")
        dtype = self.frozen_dtype if self.lora else torch.float32
        conditions = self._conditions(encoded, dtype)
        return lambda noisy, level: network(
            noisy.to(dtype), level, return_dict=False, **conditions
        )[0]

    def clean(self, encoded: Encoded) -> Tensor:
        """The mean of the latents, scaled as the UNet takes them."""
        mean, _ = encoded["moments"].float().chunk(2, dim=1)
        return mean * float(self.vae.config.scaling_factor)

    def noised(self, clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """As its schedule noises."""
        return self.process.noised(clean, noise, level)

    def _prediction(self, encoded: Encoded, noisy: Tensor, level: Tensor) -> Tensor:
        with self.running():
            return self._predictor(self.network, encoded)(noisy, level).float()

    def predict_noise(self, encoded: Encoded, noisy: Tensor, level: Tensor) -> Tensor:
        """Epsilon under the captions of the batch."""
        with self.running():
            predict = self._predictor(self.network, encoded)
            return self.process.predict_noise(predict, noisy, level)

    def sampler(self) -> DDIMScheduler:
        """DDIM; latents are not in [-1, 1] and must not be clipped."""
        return DDIMScheduler.from_config(
            self.facts.scheduler, clip_sample=False, set_alpha_to_one=False, steps_offset=1
        )

    def _pipeline(self) -> Any:
        """The stock pipeline of these parts."""
        pipeline = self.pipeline_class(
            **self._parts,
            unet=self.network,
            scheduler=self.sampler(),
            **self._pipeline_settings(),
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def sampling_steps(self, steps: int) -> DDIMSteps:
        """Those of `sampler`."""
        return DDIMSteps(self.process, self.sampler(), steps, self._prediction)

    def at_once(self) -> int:
        """16 pictures of 512 px."""
        return max(1, _SAMPLED_AT_ONCE // int(self.config.resolution or 0) ** 2)

    def sample(
        self, seeds: Sequence[int], prompts: Sequence[str] | None, steps: int
    ) -> npt.NDArray[np.float32]:
        """Pictures by DDIM with the stock pipeline's guidance, one a seed and prompt.

        A distilled model is not guided.
        """
        pipeline = self._pipeline()
        prompted = self._prompted(pipeline, list(prompts or [""] * len(seeds)))
        size = int(self.config.resolution or 0)
        at_once = self.at_once()
        home = self.vae.device
        pictures = []
        self._turns.take("network")
        try:
            self.vae.to(self.device)
            for start in range(0, len(seeds), at_once):
                chosen = slice(start, start + at_once)
                with self.running():
                    latents = pipeline(
                        **{name: tensor[chosen] for name, tensor in prompted.items()},
                        **({"guidance_scale": 0.0} if self.facts.distilled else {}),
                        height=size,
                        width=size,
                        generator=[torch.Generator().manual_seed(s) for s in seeds[chosen]],
                        # The sampler's offset: as many steps as levels would begin beyond them.
                        num_inference_steps=max(1, min(steps, self.process.num_timesteps - 1)),
                        output_type="latent",
                    ).images
                pictures.append(from_network(self._decode(latents)))
        finally:
            self.vae.to(home)
        return np.concatenate(pictures)

    def _prompted(self, pipeline: Any, texts: Sequence[str]) -> dict[str, Tensor]:
        """What the stock pipeline makes of prompts, by the names of its arguments.

        Prompts come again with every grid of samples, so that they are encoded once; of an audit's
        thousands, the last are kept.
        """
        missing = sorted(set(texts) - self._prompts.keys())
        if missing:
            self._turns.take("text")
        with self.running():
            for text in missing:
                found = pipeline.encode_prompt(
                    text,
                    device=self.device,
                    num_images_per_prompt=1,
                    do_classifier_free_guidance=True,
                )
                self._prompts[text] = tuple(one.cpu() for one in found)
        names = (
            "prompt_embeds", "negative_prompt_embeds",
            "pooled_prompt_embeds", "negative_pooled_prompt_embeds",
        )  # fmt: skip
        parts = zip(*(self._prompts[text] for text in texts), strict=True)
        for text in list(self._prompts)[:-_MOST_PROMPTS]:
            del self._prompts[text]
        return {
            name: torch.cat(part).to(self.device) for name, part in zip(names, parts, strict=False)
        }

    @torch.no_grad()
    def _decode(self, latents: Tensor) -> Tensor:
        """Pixels [B, C, H, W] in [-1, 1], one after the other: decoders take much memory.

        In the VAE's own precision, which autocast would lower.
        """
        scaled = latents.to(self.vae.dtype) / self.vae.config.scaling_factor
        return torch.cat([self.vae.decode(one).sample for one in scaled.split(1)])

    def save(self, folder: Path, previous: Path | None = None) -> None:
        """LoRA weights for `load_lora_weights`, or a whole pipeline for `from_pretrained`."""
        if self.lora:
            self.pipeline_class.save_lora_weights(
                folder, unet_lora_layers=lora.exported_state(self.network, self.config)
            )
            return
        copy_frozen(self.config, self.facts, self.base, self._vae_folder, folder, previous)
        self.network.save_pretrained(folder / "unet")  # type: ignore[operator]

    def load_saved(self, folder: Path) -> None:
        """The saved LoRA, or the UNet of a saved pipeline."""
        if self.lora:
            lora.load_exported(self.network, self.config, folder)
        else:
            load_weights(self.network, folder / "unet")

    def fuse_lora(self, folder: Path, file: str) -> None:
        """Through the stock pipeline, which knows the formats of other trainers."""
        lora.fuse(self._pipeline(), folder, file)
        self._prompts.clear()  # it may be one of text encoders as well
