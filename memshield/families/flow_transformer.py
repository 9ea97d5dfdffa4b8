"""Latent flow matching under a transformer that is conditioned on text: what its families share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import numpy as np
import numpy.typing as npt
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor, nn

from memshield.config.file import Config
from memshield.families import lora, memory
from memshield.families.base import Draw, Encoded, Family, Pictures, Placement, SampleLoss
from memshield.families.facts import Facts, training_files
from memshield.families.flow_matching import EulerSteps, FlowProcess
from memshield.families.frozen import copy_frozen
from memshield.families.kinds import FLOW
from memshield.families.pixels import from_network, to_network
from memshield.families.saved import load_weights
from memshield.families.turns import DeviceTurns

_SAMPLED_AT_ONCE = 16 * 512**2
"""Pixels: larger pictures are sampled in smaller batches."""


class FlowTransformer(Family):
    """Trains a transformer on latents, conditioned on text: in full, or a LoRA on it.

    Attributes:
        pipeline_class: the stock pipeline that encodes captions, samples and loads it.
        text_classes: of the tokenizers and text encoders, by component.
        samples_latents: whether its usual script draws latents from their distribution; else it
            takes their mode.
        preconditioned: whether its usual script takes the loss on x_0.
        negative: the prompt that samples are guided away from.
        guidance: the argument of the stock pipeline that guides; a distilled model is not guided.
        base: local folder of the base pipeline.
        vae: the frozen autoencoder, in float32: latents are encoded once.
    """

    pipeline_class: ClassVar[Any]
    text_classes: ClassVar[Mapping[str, Any]]
    samples_latents: ClassVar[bool] = True
    preconditioned: ClassVar[bool] = False
    negative: ClassVar[str] = ""
    guidance: ClassVar[str] = "guidance_scale"

    def __init__(self, config: Config, facts: Facts, placement: Placement) -> None:
        super().__init__(config, facts, placement)
        self.lora = config.training == "lora"
        self.kind = FLOW[facts.family]
        assert facts.repository is not None
        self.base = facts.repository.fetch(training_files(config, facts))
        self._load_encoders()
        self._take(self._load_transformer())
        self._turns = DeviceTurns(self.network, self._encoders, self.device)
        self.scheduler = FlowMatchEulerDiscreteScheduler.from_config(facts.scheduler)
        self.process = FlowProcess(self.scheduler, config, self.preconditioned, self.device)
        self.num_slots = self.process.num_slots

    def _load_encoders(self) -> None:
        """The VAE, and the stock pipeline with nothing in it but what encodes captions."""
        config, weights = self.config, {"use_safetensors": True, "variant": self.config.variant}
        parts: dict[str, Any] = {}
        for name, kind in self.text_classes.items():
            if name.startswith("tokenizer"):
                parts[name] = kind.from_pretrained(self.base / name)
            else:
                parts[name] = kind.from_pretrained(
                    self.base / name, dtype=self.frozen_dtype, **weights
                )
        vae_class = getattr(diffusers, self.kind.vae)
        self.vae = vae_class.from_pretrained(
            self.base / "vae", torch_dtype=torch.float32, **weights
        )
        if config.enable_vae_slicing:
            self.vae.enable_slicing()
        if config.enable_vae_tiling:
            self.vae.enable_tiling()
        self._encoders = [part for part in parts.values() if isinstance(part, nn.Module)]
        for part in (self.vae, *self._encoders):
            part.requires_grad_(False).eval()
        self.vae.to(self.device)
        self._captioning = self.pipeline_class(
            **parts, vae=None, transformer=None, scheduler=None, **self._pipeline_settings()
        )

    def _load_transformer(self) -> nn.Module:
        """The transformer with a LoRA on it, or in float32."""
        dtype = self.frozen_dtype if self.lora else torch.float32
        transformer: nn.Module = getattr(diffusers, self.kind.transformer).from_pretrained(
            self.base,
            subfolder="transformer",
            torch_dtype=dtype,
            use_safetensors=True,
            variant=self.config.variant,
            **memory.quantized(self.config, dtype),
        )
        if self.lora:
            lora.attach(transformer, self.config, lora.targets_of(self.facts))
        return transformer

    @property
    def captioning(self) -> Any:
        """The pipeline that encodes captions, with its encoders on the device."""
        self._turns.take("text")
        return self._captioning

    # What a family gives

    @abstractmethod
    def _velocity(
        self, network: nn.Module, encoded: Encoded, noisy: Tensor, timestep: Tensor
    ) -> Tensor:
        """The velocity [B, ...] of noisy latents, for timesteps [B] in the scheduler's terms."""

    @abstractmethod
    def _prompts(self, encoded: Encoded, blank: Encoded) -> dict[str, Any]:
        """Encoded prompts, and the empty one, as arguments of the stock pipeline."""

    def _pipeline_settings(self) -> dict[str, Any]:
        """Arguments of the stock pipeline that are no components."""
        return {}

    def _scaled(self, latents: Tensor) -> Tensor:
        """The VAE's latents as the transformer takes them."""
        settings = self.vae.config
        scaled: Tensor = (latents - (settings.shift_factor or 0.0)) * settings.scaling_factor
        return scaled

    def _unscaled(self, latents: Tensor) -> Tensor:
        """`_scaled` undone."""
        settings = self.vae.config
        unscaled: Tensor = latents / settings.scaling_factor + (settings.shift_factor or 0.0)
        return unscaled

    def _of_pipeline(self, output: Tensor, size: int) -> Tensor:
        """The VAE's latents, of what the stock pipeline gives for `latent`."""
        return self._unscaled(output)

    def _set_timesteps(self, scheduler: Any, steps: int) -> None:
        """Set a scheduler's timesteps as the stock pipeline does."""
        sigmas = np.linspace(1.0, 1 / steps, steps)
        scheduler.set_timesteps(sigmas=sigmas, device=self.device, mu=self._shift(steps))

    def _shift(self, steps: int) -> float:
        """The dynamic shift (mu) at this size; `steps` is for families that look at it."""
        config = self.scheduler.config
        return float(
            calculate_shift(
                self._image_tokens(),
                config.get("base_image_seq_len", 256),
                config.get("max_image_seq_len", 4096),
                config.get("base_shift", 0.5),
                config.get("max_shift", 1.15),
            )
        )

    def _image_tokens(self) -> int:
        return (int(self.config.resolution or 0) // self.facts.multiple_of) ** 2

    @classmethod
    def _wrapped(cls, tokenizer: Any, captions: Sequence[str]) -> list[str]:
        """Captions as the tokenizer of the largest text encoder gets them."""
        return list(captions)

    # Encoding

    @torch.no_grad()
    def encode_pictures(self, pictures: Pictures) -> Encoded:
        """Moments [B, 2 C, h, w] of the latents: mean and log variance, not one sample."""
        pixels = to_network(pictures.pixels, self.device)
        return {"moments": self._encoded(pixels).latent_dist.parameters}

    def _encoded(self, pixels: Tensor) -> Any:
        return self.vae.encode(pixels)

    @classmethod
    def count_tokens(
        cls, config: Config, facts: Facts, captions: Sequence[str]
    ) -> tuple[list[int], int]:
        """Those of the largest text encoder, which is the last."""
        name = [name for name in cls.text_classes if name.startswith("tokenizer")][-1]
        tokenizer = cls.text_classes[name].from_pretrained(facts.fetch_part(name))
        tokens = tokenizer(cls._wrapped(tokenizer, captions), verbose=False).input_ids
        return [len(one) for one in tokens], int(config.max_sequence_length or 0)

    def release_text_encoders(self) -> None:
        """Have the network on the device in their place."""
        self._turns.take("network")

    def release_encoders(self) -> None:
        """Move the VAE and the text encoders to the host."""
        self.release_text_encoders()
        self.vae.to("cpu")

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        """The VAE on the device; back where it was afterwards."""
        home = next(self.vae.parameters()).device
        try:
            self.vae.to(self.device)
            yield
        finally:
            self.vae.to(home)

    # Training

    def noise_levels(self) -> Tensor:
        """Those of its schedule."""
        return self.process.noise_levels()

    def draw(
        self, encoded: Encoded, generator: torch.Generator, level: Tensor | None = None
    ) -> Draw:
        """A latent, sampled from its moments where the family does so, noise and slots."""
        mean, log_variance = encoded["moments"].float().chunk(2, dim=1)
        if self.samples_latents:
            # As diffusers' DiagonalGaussianDistribution, which clamps to the same range.
            deviation = torch.exp(0.5 * log_variance.clamp(-30.0, 20.0))
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
            mean = mean + deviation * noise
        return self.process.draw(self._scaled(mean), generator, level)

    def predict(self, encoded: Encoded, draw: Draw) -> Tensor:
        """The velocity or x_0, in the frozen precision where that is lower."""
        return self.process.predict(
            lambda noisy, timestep: self._predicted(encoded, noisy, timestep), draw
        )

    def _predicted(self, encoded: Encoded, noisy: Tensor, timestep: Tensor) -> Tensor:
        self._turns.take("network")
        dtype = self.frozen_dtype if self.lora else torch.float32
        held = {
            name: value.to(dtype) if value.is_floating_point() else value
            for name, value in encoded.items()
        }
        return self._velocity(self.network, held, noisy.to(dtype), timestep)

    def loss(self, prediction: Tensor, draw: Draw) -> SampleLoss:
        """The flow-matching loss of every sample."""
        return self.process.loss(prediction, draw)

    def clean(self, encoded: Encoded) -> Tensor:
        """The mean of the latents, scaled as the transformer takes them."""
        mean, _ = encoded["moments"].float().chunk(2, dim=1)
        return self._scaled(mean)

    def noised(self, clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """As its schedule noises."""
        return self.process.noised(clean, noise, level)

    def predict_noise(self, encoded: Encoded, noisy: Tensor, level: Tensor) -> Tensor:
        """Epsilon under the captions of the batch."""
        with self.running():
            return self.process.predict_noise(
                lambda latents, timestep: self._predicted(encoded, latents, timestep), noisy, level
            )

    # Sampling

    def sampling_steps(self, steps: int) -> EulerSteps:
        """Euler's, at the timesteps of the stock pipeline."""
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(self.facts.scheduler)
        self._set_timesteps(scheduler, min(steps, self.num_slots))

        def velocity(encoded: Encoded, noisy: Tensor, timestep: Tensor) -> Tensor:
            with self.running():
                return self._predicted(encoded, noisy, timestep).float()

        return EulerSteps(scheduler, velocity)

    def _pipeline(self) -> Any:
        """The stock pipeline of these parts, without those that encode captions."""
        pipeline = self.pipeline_class(
            **dict.fromkeys(self.text_classes),
            vae=self.vae,
            transformer=self.network,
            scheduler=FlowMatchEulerDiscreteScheduler.from_config(self.facts.scheduler),
            **self._pipeline_settings(),
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def at_once(self) -> int:
        """16 pictures of 512 px."""
        return max(1, _SAMPLED_AT_ONCE // int(self.config.resolution or 0) ** 2)

    def sample(
        self, seeds: Sequence[int], prompts: Sequence[str] | None, steps: int
    ) -> npt.NDArray[np.float32]:
        """Pictures by the stock pipeline, one a seed and prompt.

        The text encoders have left the device again when the transformer runs.
        """
        texts = list(prompts or [""] * len(seeds))
        size, at_once = int(self.config.resolution or 0), self.at_once()
        starts = range(0, len(texts), at_once)
        blank = self.encode_captions([self.negative])
        encoded = [self.encode_captions(texts[start : start + at_once]) for start in starts]
        self._turns.take("network")
        pipeline = self._pipeline()
        pictures = []
        with self._decoding():
            for start, captions in zip(starts, encoded, strict=True):
                chosen = seeds[start : start + at_once]
                without = {
                    name: value.expand(len(chosen), *value.shape[1:])
                    for name, value in blank.items()
                }
                with self.running():
                    latents = pipeline(
                        **self._prompts(captions, without),
                        **({self.guidance: 0.0} if self.facts.distilled else {}),
                        height=size,
                        width=size,
                        generator=[torch.Generator().manual_seed(seed) for seed in chosen],
                        num_inference_steps=min(steps, self.num_slots),
                        output_type="latent",
                    ).images
                pictures.append(from_network(self._decode(self._of_pipeline(latents, size))))
        return np.concatenate(pictures)

    @torch.no_grad()
    def _decode(self, latents: Tensor) -> Tensor:
        """Pixels [B, C, H, W] in [-1, 1], one after the other: decoders take much memory."""
        return torch.cat([self._decoded(one) for one in latents.float().split(1)])

    def _decoded(self, latents: Tensor) -> Tensor:
        pixels: Tensor = self.vae.decode(latents).sample
        return pixels

    # Saving

    def save(self, folder: Path, previous: Path | None = None) -> None:
        """LoRA weights for `load_lora_weights`, or a whole pipeline for `from_pretrained`."""
        if self.lora:
            lora.save_transformer(self.pipeline_class, self.network, self.config, folder)
            return
        copy_frozen(self.config, self.facts, self.base, self.base / "vae", folder, previous)
        self.network.save_pretrained(folder / "transformer")  # type: ignore[operator]

    def load_saved(self, folder: Path) -> None:
        """The saved LoRA, or the transformer of a saved pipeline."""
        if self.lora:
            lora.load_transformer(self.network, self.config, folder)
        else:
            load_weights(self.network, folder / "transformer")

    def fuse_lora(self, folder: Path, file: str) -> None:
        """Through the stock pipeline, which knows the formats of other trainers.

        Its text encoders too: some trainers' LoRAs go on them as well.
        """
        pipeline = self._pipeline()
        pipeline.register_modules(
            **{name: getattr(self._captioning, name) for name in self.text_classes}
        )
        lora.fuse(pipeline, folder, file)
