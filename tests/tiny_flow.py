"""Complete flow-matching pipelines of a few kilobytes, built in code: 16 px pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.tiny import _text_config, _tokenizer, _vae

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def _t5() -> dict[str, Any]:
    """A tokenizer of letters, and an encoder 16 wide."""
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in LETTERS]
    config = T5Config(
        vocab_size=len(pieces), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return {
        "tokenizer": T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=64),
        "encoder": T5EncoderModel(config).eval(),
    }


def _latents(**changes: Any) -> Any:
    settings = {"shift_factor": 0.06, "scaling_factor": 1.5, **changes}
    return _vae(use_quant_conv=False, use_post_quant_conv=False, **settings).eval()


def sd3_components() -> dict[str, Any]:
    """The parts of a small Stable Diffusion 3: 8 px latents."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
    from transformers import CLIPTextModelWithProjection

    torch.manual_seed(0)
    t5 = _t5()
    return {
        "tokenizer": _tokenizer(),
        "tokenizer_2": _tokenizer(pad_token="!</w>"),
        "tokenizer_3": t5["tokenizer"],
        "text_encoder": CLIPTextModelWithProjection(_text_config(hidden_size=8, projection_dim=8)),
        "text_encoder_2": CLIPTextModelWithProjection(
            _text_config(hidden_size=8, hidden_act="gelu", projection_dim=12)
        ),
        "text_encoder_3": t5["encoder"],
        "vae": _latents(),
        "transformer": SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8,
            num_attention_heads=2, caption_projection_dim=16, joint_attention_dim=16,
            pooled_projection_dim=20, out_channels=4, pos_embed_max_size=8,
        ).eval(),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
    }  # fmt: skip


def sd3_pipeline(folder: Path) -> Path:
    """A saved Stable Diffusion 3 pipeline."""
    from diffusers import StableDiffusion3Pipeline

    StableDiffusion3Pipeline(**sd3_components()).save_pretrained(folder)
    return folder


def _flow_scheduler(**settings: Any) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**settings)


def flux_pipeline(folder: Path, **transformer: Any) -> Path:
    """A saved FLUX.1 pipeline with an embedding of its guidance."""
    from diffusers import FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextModel

    torch.manual_seed(0)
    t5 = _t5()
    settings = {
        "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
        "num_attention_heads": 2, "joint_attention_dim": 16, "pooled_projection_dim": 16,
        "axes_dims_rope": (4, 4, 8), "guidance_embeds": True,
    }  # fmt: skip
    FluxPipeline(
        scheduler=_flow_scheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_latents(),
        tokenizer=_tokenizer(),
        tokenizer_2=t5["tokenizer"],
        text_encoder=CLIPTextModel(_text_config()).eval(),
        text_encoder_2=t5["encoder"],
        transformer=FluxTransformer2DModel(**{**settings, **transformer}).eval(),
    ).save_pretrained(folder)
    return folder


_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def _qwen_tokenizer() -> Any:
    """A tokenizer of bytes with Qwen's special tokens and a short template of a chat."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2TokenizerFast

    vocabulary = {word: i for i, word in enumerate((*sorted(ByteLevel.alphabet()), *_SPECIAL))}
    return Qwen2TokenizerFast(
        vocab=vocabulary, merges=[], chat_template=_CHAT, model_max_length=2048,
        additional_special_tokens=list(_SPECIAL[1:]),
    )  # fmt: skip


def _qwen3(layers: int) -> Any:
    from transformers import Qwen3Config

    return Qwen3Config(
        vocab_size=300, hidden_size=8, intermediate_size=16, num_hidden_layers=layers,
        num_attention_heads=2, num_key_value_heads=2, head_dim=4, max_position_embeddings=2048,
    )  # fmt: skip


def z_image_pipeline(folder: Path) -> Path:
    """A saved Z-Image pipeline."""
    from diffusers import ZImagePipeline, ZImageTransformer2DModel
    from transformers import Qwen3Model

    torch.manual_seed(0)
    transformer = ZImageTransformer2DModel(
        in_channels=4, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2,
        cap_feat_dim=8, axes_dims=[8, 4, 4], axes_lens=[1024, 32, 32],
    ).eval()  # fmt: skip
    with torch.no_grad():  # they are not initialized
        transformer.x_pad_token.normal_()
        transformer.cap_pad_token.normal_()
    ZImagePipeline(
        scheduler=_flow_scheduler(shift=6.0),
        vae=_latents(),
        tokenizer=_qwen_tokenizer(),
        text_encoder=Qwen3Model(_qwen3(2)).eval(),
        transformer=transformer,
    ).save_pretrained(folder)
    return folder


def flux2_klein_pipeline(folder: Path, is_distilled: bool = False) -> Path:
    """A saved FLUX.2 klein pipeline."""
    from diffusers import AutoencoderKLFlux2, Flux2KleinPipeline, Flux2Transformer2DModel
    from transformers import Qwen3ForCausalLM

    torch.manual_seed(0)
    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(8, 16), layers_per_block=1, latent_channels=4, norm_num_groups=4,
        sample_size=16, use_quant_conv=False, use_post_quant_conv=False,
    ).eval()  # fmt: skip
    vae.bn.running_mean.normal_(std=0.1)
    vae.bn.running_var.uniform_(0.5, 1.5)
    Flux2KleinPipeline(
        scheduler=_flow_scheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae,
        tokenizer=_qwen_tokenizer(),
        text_encoder=Qwen3ForCausalLM(_qwen3(27)).eval(),
        transformer=Flux2Transformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=24, axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ).eval(),
        is_distilled=is_distilled,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def _qwen_vae() -> Any:
    from diffusers import AutoencoderKLQwenImage

    return AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[False],
        latents_mean=[0.1, -0.1, 0.2, 0.0], latents_std=[1.1, 0.9, 1.0, 1.2],
    ).eval()  # fmt: skip


def qwen_image_pipeline(folder: Path) -> Path:
    """A saved Qwen-Image pipeline."""
    from diffusers import QwenImagePipeline, QwenImageTransformer2DModel
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 300, "hidden_size": 16, "intermediate_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
            "rope_theta": 1e6,
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
        },
        vision_config={
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
            "out_hidden_size": 16,
        },
    )  # fmt: skip
    vae = _qwen_vae()
    QwenImagePipeline(
        scheduler=_flow_scheduler(shift=1.0, use_dynamic_shifting=True, shift_terminal=0.02),
        vae=vae,
        tokenizer=_qwen_tokenizer(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(config).eval(),
        transformer=QwenImageTransformer2DModel(
            in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=16, axes_dims_rope=(8, 4, 4),
        ).eval(),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def krea2_pipeline(folder: Path, **settings: Any) -> Path:
    """A saved Krea 2 pipeline, not distilled unless the settings of its index say so."""
    from diffusers import Krea2Pipeline, Krea2Transformer2DModel
    from transformers import Qwen3VLConfig, Qwen3VLModel

    torch.manual_seed(0)
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": 300, "hidden_size": 16, "intermediate_size": 16, "head_dim": 8,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
            "rope_theta": 1e6,
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
        },
        vision_config={
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
            "out_hidden_size": 16, "deepstack_visual_indexes": [],
        },
    )  # fmt: skip
    transformer = Krea2Transformer2DModel(
        in_channels=16, num_layers=1, attention_head_dim=8, num_attention_heads=2,
        num_key_value_heads=1, intermediate_size=16, timestep_embed_dim=8, text_hidden_dim=16,
        num_text_layers=2, text_num_attention_heads=2, text_num_key_value_heads=1,
        text_intermediate_size=16, num_layerwise_text_blocks=1, num_refiner_text_blocks=1,
        axes_dims_rope=(4, 2, 2),
    ).eval()  # fmt: skip
    Krea2Pipeline(
        scheduler=_flow_scheduler(use_dynamic_shifting=True, max_image_seq_len=6400),
        vae=_qwen_vae(),
        tokenizer=_qwen_tokenizer(),
        text_encoder=Qwen3VLModel(config).eval(),
        transformer=transformer,
        **{"text_encoder_select_layers": (0, 2), **settings},
    ).save_pretrained(folder)
    return folder
