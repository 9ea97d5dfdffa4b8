"""Qwen-Image (arXiv 2508.02324)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import QwenImagePipeline
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from memshield.families.base import Encoded
from memshield.families.one_frame import OneFrame


class QwenImage(OneFrame):
    """Conditioned on the hidden states of Qwen2.5-VL, masked where captions are shorter."""

    pipeline_class = QwenImagePipeline
    text_classes = {  # noqa: RUF012
        "tokenizer": Qwen2Tokenizer,
        "text_encoder": Qwen2_5_VLForConditionalGeneration,
    }
    negative = " "  # as its authors sample it
    guidance = "true_cfg_scale"

    @torch.no_grad()
    def encode_captions(self, captions: Sequence[str]) -> Encoded:
        """Hidden states, and which of them are a caption's.

        Returns:
            "text" [B, longest, width] and "mask" [B, longest] bool.
        """
        text, mask = self.captioning.encode_prompt(
            list(captions),
            device=self.device,
            max_sequence_length=self.config.max_sequence_length,
        )
        if mask is None:
            mask = torch.ones(text.shape[:2], device=text.device)
        return {"text": text, "mask": mask.bool()}

    @classmethod
    def _wrapped(cls, tokenizer: Any, captions: Sequence[str]) -> list[str]:
        template: str = cls._templated(tokenizer).prompt_template_encode
        return [template.format(caption) for caption in captions]

    def _velocity(
        self, network: nn.Module, encoded: Encoded, noisy: Tensor, timestep: Tensor
    ) -> Tensor:
        count, channels, height, width = noisy.shape
        mask = encoded["mask"]
        packed = network(
            hidden_states=QwenImagePipeline._pack_latents(noisy, count, channels, height, width),
            encoder_hidden_states=encoded["text"],
            encoder_hidden_states_mask=None if bool(mask.all()) else mask.long(),
            timestep=timestep / 1000,
            img_shapes=[(1, height // 2, width // 2)] * count,
            return_dict=False,
        )[0]
        velocity: Tensor = QwenImagePipeline._unpack_latents(packed, height, width, 1)
        return velocity.squeeze(2)

    def _prompts(self, encoded: Encoded, blank: Encoded) -> dict[str, Any]:
        return {
            "prompt_embeds": encoded["text"],
            "prompt_embeds_mask": encoded["mask"].long(),
            "negative_prompt_embeds": blank["text"],
            "negative_prompt_embeds_mask": blank["mask"].long(),
        }

    def _of_pipeline(self, output: Tensor, size: int) -> Tensor:
        scale = self.facts.multiple_of // 2
        latents: Tensor = QwenImagePipeline._unpack_latents(output, size, size, scale)
        return self._unscaled(latents.squeeze(2))
