"""Qwen-Image (arXiv 2508.02324), whose VAE is one of videos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import QwenImagePipeline
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from memshield.config.file import Config
from memshield.families.base import Encoded
from memshield.families.facts import Facts
from memshield.families.flow_transformer import FlowTransformer


class QwenImage(FlowTransformer):
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
    def count_tokens(
        cls, config: Config, facts: Facts, captions: Sequence[str]
    ) -> tuple[list[int], int]:
        """Those that are left of caption and template; the template's beginning is cut off."""
        counts, most = super().count_tokens(config, facts, captions)
        start = _captioning(None).prompt_template_encode_start_idx
        return [count - start for count in counts], most

    @classmethod
    def _wrapped(cls, tokenizer: Any, captions: Sequence[str]) -> list[str]:
        template: str = _captioning(tokenizer).prompt_template_encode
        return [template.format(caption) for caption in captions]

    def _encoded(self, pixels: Tensor) -> Any:
        return self.vae.encode(pixels.unsqueeze(2))

    def encode_pictures(self, pictures: Any) -> Encoded:
        """Moments [B, 2 C, h, w] of the latents: a picture is a video of one frame."""
        return {"moments": super().encode_pictures(pictures)["moments"].squeeze(2)}

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

    def _of_pipeline(self, output: Tensor, size: int) -> Tensor:
        scale = self.facts.multiple_of // 2
        latents: Tensor = QwenImagePipeline._unpack_latents(output, size, size, scale)
        return self._unscaled(latents.squeeze(2))

    def _decoded(self, latents: Tensor) -> Tensor:
        pixels: Tensor = self.vae.decode(latents.unsqueeze(2)).sample[:, :, 0]
        return pixels


def _captioning(tokenizer: Any) -> Any:
    """The stock pipeline with nothing that has weights: it knows the template of captions."""
    parts = dict.fromkeys(("scheduler", "vae", "text_encoder", "transformer"))
    return QwenImagePipeline(tokenizer=tokenizer, **parts)
