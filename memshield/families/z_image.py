"""Z-Image (Tongyi-MAI/Z-Image), whose captions keep their own lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ZImagePipeline
from diffusers.pipelines.z_image.pipeline_z_image import get_default_z_image_sigmas
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from memshield.families.base import Encoded
from memshield.families.caption_padding import filled_up
from memshield.families.chat import as_messages
from memshield.families.flow_transformer import FlowTransformer


class ZImage(FlowTransformer):
    """Conditioned on the hidden states of Qwen3, as many for each caption as it has tokens."""

    pipeline_class = ZImagePipeline
    text_classes = {"tokenizer": AutoTokenizer, "text_encoder": AutoModel}  # noqa: RUF012
    samples_latents = False

    @torch.no_grad()
    def encode_captions(self, captions: Sequence[str]) -> Encoded:
        """Hidden states, and which of them are a caption's.

        Returns:
            "text" [B, longest, width] and "mask" [B, longest] bool.
        """
        found, _ = self.captioning.encode_prompt(
            list(captions),
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.config.max_sequence_length,
        )
        return filled_up(found)

    @classmethod
    def _wrapped(cls, tokenizer: Any, captions: Sequence[str]) -> list[str]:
        return as_messages(tokenizer, captions, thinks=True)

    def _velocity(
        self, network: nn.Module, encoded: Encoded, noisy: Tensor, timestep: Tensor
    ) -> Tensor:
        found = network(
            list(noisy.unsqueeze(2).unbind(0)),
            (1000 - timestep) / 1000,
            _captions(encoded),
            return_dict=False,
        )[0]
        return -torch.stack(found).squeeze(2)

    def _prompts(self, encoded: Encoded, blank: Encoded) -> dict[str, Any]:
        return {"prompt_embeds": _captions(encoded), "negative_prompt_embeds": _captions(blank)}

    def _set_timesteps(self, scheduler: Any, steps: int) -> None:
        sigmas = get_default_z_image_sigmas(steps)
        scheduler.set_timesteps(sigmas=sigmas, device=self.device, mu=self._shift(steps))


def _captions(encoded: Encoded) -> list[Tensor]:
    """The hidden states of each caption, [tokens, width], without what fills them up."""
    return [text[mask.bool()] for text, mask in zip(encoded["text"], encoded["mask"], strict=True)]
