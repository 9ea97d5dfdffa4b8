"""What a failure is called, what a user reads of it, and what can be done about it."""

from __future__ import annotations

import errno
from typing import NamedTuple

from memshield.config.file import Config
from memshield.config.memory import FROZEN_ONLY
from memshield.errors import UserError
from memshield.training.ranks import RankLostError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Failure(NamedTuple):
    """How a run failed.

    Attributes:
        error: its kind, for programs: bad_input, out_of_memory, disk_full, rank_lost, diverged,
            crash.
        reason: in words, with what to do, by the names of settings.
        code: exit code of the process.
        on_page: the same for a page, which has settings in plain words and no commands; None where
            the reason serves.
    """

    error: str
    reason: str
    code: int
    on_page: str | None = None

    @property
    def is_crash(self) -> bool:
        """Whether nobody foresaw it, so that the traceback is of use."""
        return self.error == "crash"


def way_on(back: str) -> str:
    """How a run that ended before its end goes on, in a sentence.

    Args:
        back: its `resume_from_checkpoint`.
    """
    if back == "latest":
        return "The same command goes on from the last checkpoint."
    return (
        f"With resume_from_checkpoint: latest the same command goes on from the last checkpoint; "
        f"as it is, it goes back to {back} once more, and what came after that is deleted."
    )


def explain(error: BaseException, config: Config) -> Failure:
    """The failure that an exception means for a run with this config."""
    if isinstance(error, UserError):
        return Failure("bad_input", str(error), 2, error.labelled)
    if isinstance(error, RankLostError):
        reason = f"{error}. {way_on(config.resume_from_checkpoint)}"
        return Failure("rank_lost", reason, 1, f"{error}.")
    if _is_disk_full(error):
        reason = (
            "output_dir: the disk is full; what was saved is whole.\n"
            "  Make room, or set checkpoints_total_limit. Encodings lie in MEMSHIELD_CACHE, and "
            "what the Hub gave in HF_HOME: either may be on another disk than the run. "
            f"{way_on(config.resume_from_checkpoint)}"
        )
        return Failure(
            "disk_full", reason, 1,
            "The disk is full; what was saved is whole. Make room, also for encodings and for what "
            "the Hub gives, or keep fewer checkpoints.",
        )  # fmt: skip
    if type(error).__name__ == "NonFiniteLossError":  # named, not imported: see below
        return _diverged(str(error), config)
    if is_out_of_memory(error):
        remedies = "".join(f"\n  {i}. {line}" for i, line in enumerate(_savings(config), 1))
        where = "the GPU" if "cuda" in str(error).lower() else "the machine"
        reason = (
            f"{where} is out of memory; the last checkpoint is whole.\n"
            f"Change, in order of effect, and train anew (another output_dir) where a setting may "
            f"not differ:{remedies}"
        )
        return Failure("out_of_memory", reason, 1)
    return Failure("crash", f"{type(error).__name__}: {error}", 1)


def _diverged(what: str, config: Config) -> Failure:
    half = " Set mixed_precision to bf16." if config.mixed_precision == "fp16" else ""
    words = "the training has diverged: " + what
    causes = "Before the first step, the weights of the base are broken."
    return Failure(
        "diverged",
        f"{words}.\n  Train anew, in another output_dir, with a lower learning_rate or more "
        f"lr_warmup_steps: going on would come to the same.{half} {causes}",
        1,
        f"{words[:1].upper()}{words[1:]}. {causes}",
    )


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return True
    # safetensors and arrow report the operating system's error as text only.
    return any(
        f"(os error {code})" in str(error) or f"[errno {code}]" in str(error) for code in DISK_FULL
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, of the machine or of a device."""
    if isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno == errno.ENOMEM
    ):
        return True
    # torch's class for devices, and its plain RuntimeError from the host's allocator. Named, not
    # imported: this module is read before torch is.
    if type(error).__name__ == "OutOfMemoryError":
        return True
    # oneDNN, which convolves on CPUs, has only these words for an allocation that failed.
    words = (
        "can't allocate memory", "could not create a primitive", "could not create a memory",
        # What does not go through torch's own allocator of a GPU: its start, cuBLAS's workspace.
        "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
    )  # fmt: skip
    return isinstance(error, RuntimeError) and any(one in str(error) for one in words)


def _savings(config: Config) -> list[str]:
    """Settings that need less memory, the most effective first, as far as they are not used yet.

    Each is as it stands in a file, with what it does as a comment. Weights, gradients and moments
    of a big network outweigh its activations, unless activations are kept for a large batch.
    """
    text = config.pretrained_model_name_or_path is not None and config.training is not None
    full = config.training == "full"
    changes: list[tuple[str, str]] = []
    if full and text and not config.use_ema:
        changes.append(("training: lora", "weights, gradients and moments of a thousandth"))
    if not config.gradient_checkpointing:
        changes.append(("gradient_checkpointing: true", "activations a fifth, a third slower"))
    if config.train_batch_size > 1:
        half = config.train_batch_size // 2
        twice = config.gradient_accumulation_steps * 2
        changes.append((
            f"train_batch_size: {half}, gradient_accumulation_steps: {twice}",
            "half the activations, the same steps",
        ))  # fmt: skip
    if config.mixed_precision == "no":
        changes.append(("mixed_precision: bf16", "on a GPU: half the activations"))
    if text and not full and not any(getattr(config, name) for name in FROZEN_ONLY):
        changes.append(("base_quantization: int8", "linear layers half; nf4 on a GPU a quarter"))
        if config.gradient_checkpointing:
            changes.append(("enable_layerwise_casting: true", "instead: the whole base half"))
            changes.append(("enable_group_offload: true", "instead, on a GPU: a twentieth, slow"))
    if full and not config.use_8bit_adam and not config.use_adafactor:
        changes.append(("use_adafactor: true", "moments a hundredth"))
        changes.append(("use_8bit_adam: true", "instead: moments a quarter"))
    if config.use_ema:
        changes.append(("use_ema: false", "one copy of the weights less"))
    if config.stop_levels and full:
        changes.append(("stop_levels: false", "one copy of the weights less"))
    if config.shard_optimizer == "keep" and config.num_shards > 1:
        changes.append(("shard_optimizer_offload: disk", "less host memory"))
    if not config.enable_vae_slicing and text:
        changes.append(("enable_vae_slicing: true", "less while pictures are encoded"))
    if config.resolution and config.resolution >= 32:
        smaller = f"resolution: {config.resolution // 16 * 8}"
        if config.aspect_ratio_buckets:
            smaller += ", aspect_ratio_buckets: auto"
        changes.append((smaller, "a quarter of the activations"))
    return [f"{change}  # {effect}" for change, effect in changes]
