"""Stable Diffusion 3 and 3.5 (Esser et al., arXiv 2403.03206)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import StableDiffusion3Pipeline
from torch import Tensor, nn
from transformers import (
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5EncoderModel,
    T5TokenizerFast,
)

from memshield.families.base import Encoded
from memshield.families.flow_transformer import FlowTransformer


class StableDiffusion3(FlowTransformer):
    """Conditioned on two CLIP text encoders and T5; trained on x_0, as its usual script does."""

    pipeline_class = StableDiffusion3Pipeline
    text_classes = {  # noqa: RUF012
        "tokenizer": CLIPTokenizer,
        "tokenizer_2": CLIPTokenizer,
        "tokenizer_3": T5TokenizerFast,
        "text_encoder": CLIPTextModelWithProjection,
        "text_encoder_2": CLIPTextModelWithProjection,
        "text_encoder_3": T5EncoderModel,
    }
    preconditioned = True

    @torch.no_grad()
    def encode_captions(self, captions: Sequence[str]) -> Encoded:
        """CLIP's and T5's hidden states after each other, and CLIP's projections.

        Returns:
            "text" [B, 77 + max_sequence_length, width] and "pooled" [B, projections].
        """
        text, _, pooled, _ = self.captioning.encode_prompt(
            list(captions),
            None,
            None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.config.max_sequence_length,
        )
        return {"text": text, "pooled": pooled}

    def _velocity(
        self, network: nn.Module, encoded: Encoded, noisy: Tensor, timestep: Tensor
    ) -> Tensor:
        velocity: Tensor = network(
            hidden_states=noisy,
            timestep=timestep,
            encoder_hidden_states=encoded["text"],
            pooled_projections=encoded["pooled"],
            return_dict=False,
        )[0]
        return velocity

    def _set_timesteps(self, scheduler: Any, steps: int) -> None:
        shifts = self.scheduler.config.use_dynamic_shifting
        scheduler.set_timesteps(
            steps, device=self.device, mu=self._shift(steps) if shifts else None
        )

    def _prompts(self, encoded: Encoded, blank: Encoded) -> dict[str, Any]:
        return {
            "prompt_embeds": encoded["text"],
            "pooled_prompt_embeds": encoded["pooled"],
            "negative_prompt_embeds": blank["text"],
            "negative_pooled_prompt_embeds": blank["pooled"],
        }
