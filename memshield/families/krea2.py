"""Krea 2 (krea/Krea-2-Raw), trained as in diffusers' train_dreambooth_lora_krea2.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import Krea2Pipeline
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AutoTokenizer, Qwen3VLModel

from memshield.config.file import Config
from memshield.families.base import Encoded
from memshield.families.caption_padding import filled_up
from memshield.families.facts import Facts
from memshield.families.one_frame import OneFrame

_DISTILLED_SHIFT = 1.15  # as the stock pipeline has it


class Krea2(OneFrame):
    """Conditioned on a stack of layers of Qwen3-VL, as many states for each caption as tokens.

    The stock pipeline pads between a caption and the end of its template. Padding takes no
    position in the text encoder, no token of a text has one in the transformer, and both mask it:
    without it they give the same.
    """

    pipeline_class = Krea2Pipeline
    text_classes = {"tokenizer": AutoTokenizer, "text_encoder": Qwen3VLModel}  # noqa: RUF012

    @torch.no_grad()
    def encode_captions(self, captions: Sequence[str]) -> Encoded:
        """Hidden states, and which of them are a caption's.

        Returns:
            "text" [B, longest, layers, width] and "mask" [B, longest] bool.
        """
        text, mask = self.captioning.encode_prompt(
            list(captions),
            device=self.device,
            max_sequence_length=self.config.max_sequence_length,
        )
        return filled_up([one[valid] for one, valid in zip(text, mask, strict=True)])

    @classmethod
    def count_tokens(
        cls, config: Config, facts: Facts, captions: Sequence[str]
    ) -> tuple[list[int], int]:
        """Those of caption and template; the end of the template is never cut off."""
        counts, most = super().count_tokens(config, facts, captions)
        end = cls._templated(None).prompt_template_encode_num_suffix_tokens
        return [count + end for count in counts], most

    @classmethod
    def _wrapped(cls, tokenizer: Any, captions: Sequence[str]) -> list[str]:
        beginning: str = cls._templated(tokenizer).prompt_template_encode_prefix
        return [beginning + caption for caption in captions]

    def _pipeline_settings(self) -> dict[str, Any]:
        assert self.facts.repository is not None
        index = self.facts.repository.json("model_index.json")
        names = ("text_encoder_select_layers", "is_distilled", "patch_size")
        return {name: index[name] for name in names if name in index}

    def _velocity(
        self, network: nn.Module, encoded: Encoded, noisy: Tensor, timestep: Tensor
    ) -> Tensor:
        count, channels, height, width = noisy.shape
        text, mask = encoded["text"], encoded["mask"]
        packed = network(
            hidden_states=self._captioning._pack_latents(noisy, count, channels, height, width),
            encoder_hidden_states=text,
            encoder_attention_mask=None if bool(mask.all()) else mask,
            timestep=timestep / 1000,
            position_ids=Krea2Pipeline.prepare_position_ids(
                text.shape[1], height // 2, width // 2, noisy.device
            ),
            return_dict=False,
        )[0]
        return self._unpacked(packed, height, width)

    def _unpacked(self, packed: Tensor, height: int, width: int) -> Tensor:
        """Patches as latents [B, C, height, width]."""
        scale = self._captioning.vae_scale_factor  # it is asked for pixels
        latents: Tensor = self._captioning._unpack_latents(packed, height * scale, width * scale)
        return latents.squeeze(2)

    def _prompts(self, encoded: Encoded, blank: Encoded) -> dict[str, Any]:
        # It takes prompts, and what to guide away from, of one length only.
        longest = max(one["text"].shape[1] for one in (encoded, blank))
        prompts: dict[str, Any] = {}
        for prefix, one in (("", encoded), ("negative_", blank)):
            missing = longest - one["text"].shape[1]
            prompts[f"{prefix}prompt_embeds"] = pad(one["text"], (0, 0, 0, 0, 0, missing))
            prompts[f"{prefix}prompt_embeds_mask"] = pad(one["mask"], (0, missing))
        return prompts

    def _shift(self, steps: int) -> float:
        return _DISTILLED_SHIFT if self._captioning.config.is_distilled else super()._shift(steps)

    def _of_pipeline(self, output: Tensor, size: int) -> Tensor:
        side = size // (self.facts.multiple_of // 2)
        return self._unscaled(self._unpacked(output, side, side))
