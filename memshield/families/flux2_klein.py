"""FLUX.2 klein, the base models (black-forest-labs/FLUX.2-klein-base-4B and -9B)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import Flux2KleinPipeline
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from torch import Tensor, nn
from transformers import Qwen2TokenizerFast, Qwen3ForCausalLM

from memshield.families.base import Encoded
from memshield.families.chat import as_messages
from memshield.families.flow_transformer import FlowTransformer


class Flux2Klein(FlowTransformer):
    """Conditioned on three layers of Qwen3; its latents are patches, normalised by the VAE."""

    pipeline_class = Flux2KleinPipeline
    text_classes = {  # noqa: RUF012
        "tokenizer": Qwen2TokenizerFast,
        "text_encoder": Qwen3ForCausalLM,
    }
    samples_latents = False

    @torch.no_grad()
    def encode_captions(self, captions: Sequence[str]) -> Encoded:
        """ "text" [B, max_sequence_length, 3 x width]."""
        text, _ = self.captioning.encode_prompt(
            list(captions),
            device=self.device,
            max_sequence_length=self.config.max_sequence_length,
        )
        return {"text": text}

    def _pipeline_settings(self) -> dict[str, Any]:
        return {"is_distilled": self.facts.distilled}

    @classmethod
    def _wrapped(cls, tokenizer: Any, captions: Sequence[str]) -> list[str]:
        return as_messages(tokenizer, captions, thinks=False)

    def _velocity(
        self, network: nn.Module, encoded: Encoded, noisy: Tensor, timestep: Tensor
    ) -> Tensor:
        text = encoded["text"]
        places = Flux2KleinPipeline._prepare_latent_ids(noisy).to(noisy.device)
        packed = network(
            hidden_states=Flux2KleinPipeline._pack_latents(noisy),
            timestep=timestep / 1000,
            guidance=None,
            encoder_hidden_states=text,
            txt_ids=Flux2KleinPipeline._prepare_text_ids(text).to(noisy.device),
            img_ids=places,
            return_dict=False,
        )[0]
        velocity: Tensor = Flux2KleinPipeline._unpack_latents_with_ids(
            packed, places, *noisy.shape[2:]
        )
        return velocity

    def _prompts(self, encoded: Encoded, blank: Encoded) -> dict[str, Any]:
        return {"prompt_embeds": encoded["text"], "negative_prompt_embeds": blank["text"]}

    def _shift(self, steps: int) -> float:
        return float(compute_empirical_mu(self._image_tokens(), steps))

    def _moments(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of every channel of the patches."""
        norm, epsilon = self.vae.bn, self.vae.config.batch_norm_eps
        mean = norm.running_mean.view(1, -1, 1, 1).to(like.device, like.dtype)
        variance = norm.running_var.view(1, -1, 1, 1)
        return mean, torch.sqrt(variance + epsilon).to(like.device, like.dtype)

    def _scaled(self, latents: Tensor) -> Tensor:
        patches: Tensor = Flux2KleinPipeline._patchify_latents(latents)
        mean, deviation = self._moments(patches)
        return (patches - mean) / deviation

    def _unscaled(self, latents: Tensor) -> Tensor:
        mean, deviation = self._moments(latents)
        unscaled: Tensor = Flux2KleinPipeline._unpatchify_latents(latents * deviation + mean)
        return unscaled

    def _of_pipeline(self, output: Tensor, size: int) -> Tensor:
        return output
