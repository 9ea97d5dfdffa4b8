"""Stable Diffusion 1.x and 2.x (epsilon and v_prediction)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTextModel

from memshield.families.base import Encoded
from memshield.families.latent import LatentDiffusion


class StableDiffusion(LatentDiffusion):
    """Conditioned on the last hidden states of one CLIP text encoder."""

    pipeline_class = StableDiffusionPipeline
    encoder_classes = (CLIPTextModel,)

    @torch.no_grad()
    def encode_captions(self, captions: Sequence[str]) -> Encoded:
        """CLIP embeddings [B, tokens, width]."""
        tokens = self._tokens("text_encoder", captions)
        return {"text": self._parts["text_encoder"](tokens, return_dict=False)[0]}

    def _conditions(self, encoded: Encoded, dtype: torch.dtype) -> dict[str, Any]:
        return {"encoder_hidden_states": encoded["text"].to(dtype)}

    def _pipeline_settings(self) -> dict[str, Any]:
        return {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
