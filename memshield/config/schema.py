"""The settings of a run, group by group, with their defaults and rules. Imports no torch.

Names are those of diffusers' training examples wherever they have one, so that a user's flags
carry over.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field


def setting(default: Any, description: str, *, free: bool = False, **rules: Any) -> Any:
    """A field with its one-sentence meaning; `free` means it may differ when a run is resumed."""
    return Field(default, description=description, json_schema_extra={"free": free}, **rules)


class Settings(BaseModel):
    """A group of settings; its docstring is the group's title."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=()
    )


class ModelSettings(Settings):
    """Model"""

    pretrained_model_name_or_path: str | None = setting(
        None, "Hub id or folder of the diffusers pipeline to fine-tune."
    )
    revision: str | None = setting(None, "Branch, tag or commit of the pipeline's repository.")
    variant: str | None = setting(None, "Weight file variant of the pipeline, such as fp16.")
    model_config_name_or_path: str | None = setting(
        None, "Hub id, folder or config.json of a UNet2DModel to train from scratch instead."
    )
    pretrained_vae_model_name_or_path: str | None = setting(
        None, "Hub id or folder of a VAE to use in place of the pipeline's own."
    )
    prediction_type: Literal["epsilon", "v_prediction"] | None = setting(
        None, "What the model predicts; by default what its scheduler says."
    )
    ddpm_num_steps: int = setting(
        1000, "Noise levels of a model trained from scratch.", ge=2, le=10_000
    )
    ddpm_beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = setting(
        "linear", "Noise schedule of a model trained from scratch."
    )
    training: Literal["full", "lora"] | None = setting(
        None, "Train all of the network's weights or a LoRA; by default LoRA for text models."
    )
    rank: int = setting(4, "Rank of the LoRA matrices.", ge=1, le=1024)
    lora_alpha: float | None = setting(
        None, "LoRA is scaled by lora_alpha / rank; by default equal to rank.", gt=0, le=10_000
    )
    lora_dropout: float = setting(0.0, "Dropout before the LoRA matrices.", ge=0, lt=1)
    dropout: float | None = setting(
        None,
        "Dropout of a pixel model while it is trained; by default what its config says.",
        ge=0,
        lt=1,
    )


BUILT_IN = "sklearn:digits"
"""The dataset that is there without a network: scikit-learn's handwritten digits."""


class DataSettings(Settings):
    """Data"""

    dataset_name: str | None = setting(
        None,
        f"Hub id; parquet, zip or tar file; folder of these, or of save_to_disk; or {BUILT_IN}.",
    )
    dataset_config_name: str | None = setting(None, "Configuration (subset) of the dataset.")
    dataset_revision: str | None = setting(None, "Branch, tag or commit of the dataset.")
    dataset_split: str = setting("train", "Split of the dataset to train on.", min_length=1)
    train_data_dir: str | None = setting(
        None, "Folder of pictures, with a metadata.jsonl or metadata.csv for captions."
    )
    image_column: str | None = setting(None, "Column of the pictures; found by its type.")
    caption_column: str | None = setting(None, "Column of the captions; found by its name.")
    label_column: str | None = setting(None, "Column of the class labels; found by its type.")
    max_train_samples: int | None = setting(
        None, "Use only this many pictures, drawn with the seed.", ge=1
    )
    resolution: int | None = setting(
        None, "Side of the training pictures in pixels; by default the model's own.", ge=4, le=8192
    )
    aspect_ratio_buckets: str | None = setting(
        None,
        "Sizes that pictures are cut to, each to the nearest, so that they keep their shapes: "
        "auto, or height,width;height,width; by default all are cut to the square of resolution.",
    )
    center_crop: bool = setting(False, "Crop the centre rather than a random part.")
    random_flip: bool = setting(False, "Mirror pictures left to right at random.")
    proportion_empty_prompts: float = setting(
        0.0, "Share of captions replaced by an empty one.", ge=0, le=1
    )
    held_out_fraction: float | None = setting(
        None, "Share of pictures kept back for the audit; 0.1 from 100 pictures up.", ge=0, le=0.9
    )
    watch_fraction: float | None = setting(
        None,
        "Share of pictures on which the held-out loss is watched while training, apart from the "
        "audit's; by default a tenth, at least 20, where stop_levels or loss_bank_reference "
        "needs them.",
        ge=0,
        le=0.9,
    )
    duplicates: Literal["same_shard", "spread", "drop"] = setting(
        "same_shard", "Keep a group of duplicates in one shard, spread it, or keep its first only."
    )
    duplicate_distance: float = setting(
        0.03,
        "Pictures nearer than this are duplicates: root mean square of 16 px thumbnails in [0,1].",
        ge=0,
        le=0.5,
    )
    skip_bad_images: bool = setting(False, "Leave pictures out that cannot be decoded.")
    cache_latents: bool | None = setting(
        None, "Encode every picture once and keep the result; by default where crops allow it."
    )
    enable_vae_slicing: bool = setting(
        False, "Encode the pictures of a batch one by one, to save memory."
    )
    enable_vae_tiling: bool = setting(
        False, "Encode large pictures in overlapping tiles, to save memory; seams are blended."
    )
    dataloader_num_workers: int = setting(
        0,
        "Processes that prepare batches; 0 prepares them in the main one.",
        free=True,
        ge=0,
        le=256,
    )


class MethodSettings(Settings):
    """Mitigation"""

    num_shards: int = setting(
        4, "Parts the pictures are split into; each trains a proxy of its own.", ge=1, le=4096
    )
    num_rounds: int = setting(
        10, "How often the proxies are averaged over the whole run.", ge=1, le=100_000
    )
    shard_strategy: Literal["stratified", "random", "contiguous"] = setting(
        "stratified", "How shards are drawn; stratified by label, random where there is none."
    )
    skip_threshold: float | None = setting(
        None,
        "Skip samples whose loss is under this times the bank's (lambda); "
        "by default 0.5 for pixel models, 0.8 for models with text.",
        ge=0,
        le=1,
    )
    loss_ema_decay: float = setting(0.8, "Decay of the loss bank (gamma).", ge=0, lt=1)
    loss_bank_bins: int | None = setting(
        None, "Slots of the loss bank; by default one a noise level.", ge=1, le=10_000
    )
    loss_bank_debias: bool = setting(
        False, "Correct the bank for its start at zero (not in the paper)."
    )
    loss_bank_reference: Literal["own", "held_out"] = setting(
        "own",
        "What a sample's loss is held against: the moving mean of the samples' own, as in the "
        "paper, or what the held-out loss of its noise level comes to at the next check.",
    )
    timestep_bias_share: float | None = setting(
        None,
        "Share of draws below timestep_bias_level; by default all timesteps are drawn alike.",
        ge=0,
        le=1,
    )
    timestep_bias_level: float = setting(
        1.24,
        "Noise level that divides these draws, as noise over signal, sqrt((1 - abar) / abar); "
        "1.24 is timestep 300 of 1000 in DDPM's linear schedule.",
        gt=0,
        le=1000,
    )
    stop_levels: bool = setting(
        False,
        "Stop learning from the pictures at each noise level once its held-out loss rises; what "
        "the model knew by then is kept by distillation.",
    )
    stop_patience: int = setting(
        2, "Checks in a row with a raised held-out loss that stop a noise level.", ge=1, le=1000
    )
    stop_gain: float = setting(
        0.002,
        "Relative change of a noise level's held-out loss that counts, beyond the noise of the "
        "check.",
        ge=0,
        le=1,
    )
    watch_bins: int = setting(
        10, "Bands of noise levels whose held-out loss is watched apart.", ge=1, le=1000
    )
    watch_checks: int = setting(
        32,
        "How often the held-out loss is looked at over the run; with several shards at the end "
        "of every round instead.",
        ge=1,
        le=100_000,
    )
    watch_draws: int = setting(
        64, "Fixed draws of picture and noise that a check takes in each band.", ge=8, le=100_000
    )
    augment_probability: float = setting(
        0.0,
        "Probability of each non-leaky augmentation (EDM, arXiv 2206.00364, appendix F.2) of a "
        "pixel model's pictures; 0.12 to 0.15 there.",
        ge=0,
        le=1,
    )
    aggregate_weights: Literal["size", "uniform"] = setting(
        "size", "Weight of a shard in the mean: its share of pictures, or the same for all."
    )
    shard_optimizer: Literal["keep", "reset"] | None = setting(
        None,
        "A shard's optimizer moments between rounds; by default keep for pixel models, reset for "
        "text models, whose moments are large or, in a LoRA, lose their basis.",
    )
    shard_optimizer_offload: Literal["cpu", "disk"] = setting(
        "cpu", "Where kept moments wait for their shard's next turn.", free=True
    )
    outer_learning_rate: float = setting(
        1.0,
        "Step along the round's mean difference (DiLoCo, arXiv 2311.08105); 1 is the plain mean.",
        gt=0,
        le=10,
    )
    outer_momentum: float = setting(
        0.0, "Nesterov momentum of that step over the rounds; 0 is the plain mean.", ge=0, lt=1
    )


class TrainingSettings(Settings):
    """Training"""

    seed: int = setting(0, "Seed of everything that is drawn.", ge=0, lt=2**63)
    train_batch_size: int = setting(16, "Pictures per batch.", ge=1, le=65_536)
    num_train_epochs: int = setting(10, "Passes over the pictures.", ge=1, le=1_000_000)
    max_train_steps: int | None = setting(
        None, "Optimizer steps of the whole run, over all shards; overrides the epochs.", ge=1
    )
    gradient_accumulation_steps: int = setting(
        1, "Batches whose gradients are summed for one step.", ge=1, le=65_536
    )
    gradient_checkpointing: bool = setting(
        False, "Compute activations again in the backward pass to save memory.", free=True
    )
    mixed_precision: Literal["no", "fp16", "bf16"] | None = setting(
        None, "Precision of the forward pass; by default what accelerate was launched with."
    )
    allow_tf32: bool = setting(False, "Allow TF32 matrix products on NVIDIA GPUs.", free=True)
    channels_last: bool | None = setting(
        None,
        "Keep the network's convolutions in channels-last order; by default on a GPU with fp16 "
        "or bf16, where it is faster.",
        free=True,
    )
    torch_compile: bool = setting(
        False,
        "Compile the network before the first step: minutes of waiting for faster steps on a GPU.",
        free=True,
    )
    learning_rate: float = setting(1e-4, "Peak learning rate.", gt=0, le=10)
    scale_lr: bool = setting(
        False, "Multiply the learning rate by train_batch_size x gradient_accumulation_steps."
    )
    lr_scheduler: Literal[
        "linear",
        "cosine",
        "cosine_with_restarts",
        "polynomial",
        "constant",
        "constant_with_warmup",
    ] = setting("constant", "Shape of the learning rate over the whole run.")
    lr_warmup_steps: int = setting(0, "Warm-up, in steps of the whole run.", ge=0)
    adam_beta1: float = setting(0.9, "AdamW's first decay.", ge=0, lt=1)
    adam_beta2: float = setting(0.999, "AdamW's second decay.", ge=0, lt=1)
    adam_weight_decay: float = setting(1e-2, "AdamW's weight decay.", ge=0, le=10)
    adam_epsilon: float = setting(1e-8, "AdamW's epsilon.", gt=0, le=1)
    use_8bit_adam: bool = setting(False, "Hold AdamW's moments in 8 bits (needs bitsandbytes).")
    max_grad_norm: float = setting(1.0, "Gradients are clipped to this norm.", gt=0)
    snr_gamma: float | None = setting(
        None, "Min-SNR loss weighting, 5.0 recommended (arXiv 2303.09556); off by default.", gt=0
    )
    noise_offset: float = setting(0.0, "Scale of a noise constant over each channel.", ge=0, le=1)
    use_ema: bool = setting(False, "Keep a moving average of the weights and save that.")
    ema_decay: float = setting(0.9999, "Largest decay of the moving average.", ge=0, lt=1)


class OutputSettings(Settings):
    """Output, checkpoints and progress"""

    output_dir: str = setting(
        "memshield-run",
        "Folder of the run; the same command again goes on.",
        free=True,
        min_length=1,
    )
    checkpointing_steps: int = setting(
        500,
        "Steps between checkpoints; one more is made at the end of each round.",
        free=True,
        ge=1,
    )
    checkpoints_total_limit: int | None = setting(
        None, "Keep only this many of the newest checkpoints.", free=True, ge=1
    )
    resume_from_checkpoint: str = setting(
        "latest", "latest, or the name of a checkpoint of this run to go back to.", free=True
    )
    validation_prompts: list[str] | None = setting(
        None,
        "Prompts of the sample grid; by default a few held-out captions.",
        free=True,
        validation_alias=AliasChoices("validation_prompts", "validation_prompt"),
    )
    num_validation_images: int | None = setting(
        None,
        "Samples a grid (a prompt); 16 without prompts, 4 with, 0 for none.",
        free=True,
        ge=0,
        le=1024,
    )
    num_inference_steps: int = setting(
        50, "Denoising steps of a sample.", free=True, ge=1, le=10_000
    )
    report_to: list[str] | None = setting(
        None, "Trackers to report to: tensorboard, trackio, wandb.", free=True
    )


class AuditSettings(Settings):
    """Audit while training"""

    audit_every_rounds: int | None = setting(
        None,
        "Audit the aggregate every this many rounds; by default only with a memorization_budget, "
        "then every round.",
        free=True,
        ge=1,
    )
    memorization_budget: float | None = setting(
        None,
        "Stop when more than this share of generated pictures is given back beyond chance, and "
        "that surely; keep the best round under it.",
        free=True,
        ge=0,
        le=1,
    )
    audit_num_images: int | None = setting(
        None, "Pictures an audit generates; by default by the size of the set.", free=True, ge=10
    )


class HubSettings(Settings):
    """Publishing"""

    push_to_hub: bool = setting(
        False, "Publish the model when training is done; checked before it starts.", free=True
    )
    hub_model_id: str | None = setting(
        None, "Repository to publish to, owner/name; without an owner it is your own.", free=True
    )
    hub_private_repo: bool | None = setting(
        None,
        "Whether the repository is private: a new one is unless this says false, and always where "
        "the dataset or the base is private; with true, one that is public is refused.",
        free=True,
    )
    hub_license: str | None = setting(
        None,
        "License of the model, as the Hub spells it; by default that of the base.",
        free=True,
        pattern=r"^[a-z0-9][a-z0-9.-]*$",
    )
    hub_lora_format: Literal["kohya", "comfyui"] | None = setting(
        None,
        "Also publish a LoRA as a file for kohya's sd-scripts or ComfyUI, beside the one for "
        "diffusers.",
        free=True,
    )
    hub_confirm: (
        list[Literal["no_audit", "cannot_say", "memorization", "license", "no_license"]] | None
    ) = setting(
        None,
        "Warnings to publish despite: no_audit, cannot_say, memorization, license, no_license.",
        free=True,
    )
