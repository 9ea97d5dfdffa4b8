"""Stable Diffusion XL (Podell et al., arXiv 2307.01952), the base model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from memshield.config.file import Config
from memshield.families.base import Encoded, Pictures, Placement
from memshield.families.facts import Facts
from memshield.families.kinds import TEXT_ENCODERS
from memshield.families.latent import LatentDiffusion


class StableDiffusionXL(LatentDiffusion):
    """Conditioned on two CLIP text encoders, and on the size and the crop of a picture."""

    pipeline_class = StableDiffusionXLPipeline
    encoder_classes = (CLIPTextModel, CLIPTextModelWithProjection)

    def __init__(self, config: Config, facts: Facts, placement: Placement) -> None:
        super().__init__(config, facts, placement)
        assert facts.repository is not None
        index = facts.repository.json("model_index.json")
        # The pipeline's own default where a base does not say.
        self._zeros_for_empty = bool(index.get("force_zeros_for_empty_prompt", True))

    def _vae_dtype(self) -> torch.dtype:
        # SDXL's own VAE overflows in fp16 and is coarse in bf16. Latents are encoded once and
        # cached, so float32 costs little. Who names another one means it to run in less.
        return torch.float32 if self.facts.vae_repository is None else self.frozen_dtype

    def encode_pictures(self, pictures: Pictures) -> Encoded:
        """Moments of the latents, and "time_ids" [B, 6]: all that SDXL is told of a picture.

        These are height and width before scaling, top and left of the crop, and height and
        width of the crop, in pixels (section 2.2), kept in float32: bf16 would round them.
        """
        crop = torch.tensor(pictures.pixels.shape[-2:]).expand(len(pictures.pixels), 2)
        time_ids = torch.cat([pictures.original_size, pictures.crop, crop], dim=1)
        return {
            **super().encode_pictures(pictures),
            "time_ids": time_ids.to(self.device, torch.float32),
        }

    @torch.no_grad()
    def encode_captions(self, captions: Sequence[str]) -> Encoded:
        """Hidden states before the last of both encoders, and the second one's projection.

        Returns:
            "text" [B, tokens, width_1 + width_2] and "pooled" [B, projection].
        """
        outputs = [
            self._parts[name](self._tokens(name, captions), output_hidden_states=True)
            for name in TEXT_ENCODERS[self.facts.family]
        ]
        text = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
        pooled = outputs[-1].text_embeds
        if self._zeros_for_empty:
            # What guidance is taken against when a base is sampled: train that, not CLIP's "".
            empty = torch.tensor([not caption for caption in captions], device=self.device)
            text[empty] = 0
            pooled[empty] = 0
        return {"text": text, "pooled": pooled}

    def _conditions(self, encoded: Encoded, dtype: torch.dtype) -> dict[str, Any]:
        return {
            "encoder_hidden_states": encoded["text"].to(dtype),
            "added_cond_kwargs": {
                "text_embeds": encoded["pooled"].to(dtype),
                "time_ids": encoded["time_ids"],
            },
        }

    def _pipeline_settings(self) -> dict[str, Any]:
        return {
            "force_zeros_for_empty_prompt": self._zeros_for_empty,
            "add_watermarker": False,
        }
