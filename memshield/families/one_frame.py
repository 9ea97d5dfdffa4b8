"""What the families share whose autoencoder is Qwen-Image's, one of videos: Qwen-Image and Krea 2.

A picture is a video of one frame, and latents are normalised channel by channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from memshield.config.file import Config
from memshield.families.base import Encoded
from memshield.families.facts import Facts
from memshield.families.flow_transformer import FlowTransformer


class OneFrame(FlowTransformer):
    """Encodes and decodes one frame, under captions in a template whose beginning is cut off."""

    @classmethod
    def count_tokens(
        cls, config: Config, facts: Facts, captions: Sequence[str]
    ) -> tuple[list[int], int]:
        """Those that are left of caption and template; the template's beginning is cut off."""
        counts, most = super().count_tokens(config, facts, captions)
        start = cls._templated(None).prompt_template_encode_start_idx
        return [count - start for count in counts], most

    @classmethod
    def _templated(cls, tokenizer: Any) -> Any:
        """The stock pipeline with nothing that has weights: it knows the template of captions."""
        parts = dict.fromkeys(("scheduler", "vae", "text_encoder", "transformer"))
        return cls.pipeline_class(tokenizer=tokenizer, **parts)

    def _encoded(self, pixels: Tensor) -> Any:
        return self.vae.encode(pixels.unsqueeze(2))

    def encode_pictures(self, pictures: Any) -> Encoded:
        """Moments [B, 2 C, h, w] of the latents: a picture is a video of one frame."""
        return {"moments": super().encode_pictures(pictures)["moments"].squeeze(2)}

    def _moments(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean, and one over the deviation, of every channel of the latents."""
        settings = self.vae.config
        mean, deviation = (
            torch.tensor(values, device=like.device, dtype=like.dtype).view(1, -1, 1, 1)
            for values in (settings.latents_mean, settings.latents_std)
        )
        return mean, 1.0 / deviation

    def _scaled(self, latents: Tensor) -> Tensor:
        mean, scale = self._moments(latents)
        return (latents - mean) * scale

    def _unscaled(self, latents: Tensor) -> Tensor:
        mean, scale = self._moments(latents)
        return latents / scale + mean

    def _decoded(self, latents: Tensor) -> Tensor:
        pixels: Tensor = self.vae.decode(latents.unsqueeze(2)).sample[:, :, 0]
        return pixels
