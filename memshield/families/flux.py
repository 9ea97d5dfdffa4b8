"""FLUX.1 (black-forest-labs/FLUX.1-dev), whose guidance is an input of the transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import FluxPipeline
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from memshield.families.base import Encoded
from memshield.families.flow_transformer import FlowTransformer


class Flux(FlowTransformer):
    """Conditioned on T5, and on what CLIP makes of the whole caption."""

    pipeline_class = FluxPipeline
    text_classes = {  # noqa: RUF012
        "tokenizer": CLIPTokenizer,
        "tokenizer_2": T5TokenizerFast,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": T5EncoderModel,
    }

    @torch.no_grad()
    def encode_captions(self, captions: Sequence[str]) -> Encoded:
        """ "text" [B, max_sequence_length, width] of T5 and "pooled" [B, width] of CLIP."""
        text, pooled, _ = self.captioning.encode_prompt(
            list(captions),
            None,
            device=self.device,
            max_sequence_length=self.config.max_sequence_length,
        )
        return {"text": text, "pooled": pooled}

    def _velocity(
        self, network: nn.Module, encoded: Encoded, noisy: Tensor, timestep: Tensor
    ) -> Tensor:
        count, channels, height, width = noisy.shape
        text, guidance = encoded["text"], None
        if self.config.guidance_scale is not None:
            guidance = torch.full((count,), self.config.guidance_scale, device=noisy.device)
        packed = network(
            hidden_states=FluxPipeline._pack_latents(noisy, count, channels, height, width),
            timestep=timestep / 1000,
            guidance=guidance,
            pooled_projections=encoded["pooled"],
            encoder_hidden_states=text,
            txt_ids=torch.zeros(text.shape[1], 3, device=noisy.device, dtype=noisy.dtype),
            img_ids=FluxPipeline._prepare_latent_image_ids(
                count, height // 2, width // 2, noisy.device, noisy.dtype
            ),
            return_dict=False,
        )[0]
        velocity: Tensor = FluxPipeline._unpack_latents(packed, height, width, 1)
        return velocity

    def _prompts(self, encoded: Encoded, blank: Encoded) -> dict[str, Any]:
        return {"prompt_embeds": encoded["text"], "pooled_prompt_embeds": encoded["pooled"]}

    def _of_pipeline(self, output: Tensor, size: int) -> Tensor:
        scale = self.facts.multiple_of // 2
        return self._unscaled(FluxPipeline._unpack_latents(output, size, size, scale))
