"""What can be said of a launch before anything is fetched or computed; and accelerate's part."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from memshield.config.file import Config, to_yaml
from memshield.config.memory import require_package
from memshield.errors import UserError
from memshield.rundir import RunDir
from memshield.training.ranks import Ranks

if TYPE_CHECKING:
    from accelerate import Accelerator

OWN_FILES = {
    "status.json", "events.jsonl", "examples.parquet", "duplicates", ".lock", ".stop", "logs",
}  # fmt: skip
"""What a start that failed before training may leave in an output_dir."""
_PACKAGES = ("torch", "diffusers", "transformers", "peft", "numpy")


def resolve_launch(config: Config) -> Config:
    """Take over the precision that accelerate was launched with, and refuse what cannot work.

    Raises:
        UserError: FSDP, DeepSpeed, a precision, tracker or package that is not there.
    """
    for name, what in (("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")):
        if os.environ.get(name, "false").lower() == "true":
            raise UserError(
                "accelerate launch",
                f"{what} shards the weights, which the ensemble averages",
                f"Launch without {what}: configs/accelerate/multi_gpu.yaml trains a shard a GPU.",
            )
    precision = config.mixed_precision or os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision not in ("no", "fp16", "bf16"):
        raise UserError("mixed_precision", f"{precision} is not supported", "no, fp16 or bf16.")
    for tracker in config.report_to or ():
        if importlib.util.find_spec(tracker) is None:
            raise UserError("report_to", f"{tracker} is not installed", f"pip install {tracker}")
    if config.use_8bit_adam and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "use_8bit_adam", "bitsandbytes is not installed", "pip install bitsandbytes"
        )
    return config.model_copy(update={"mixed_precision": precision})


def require_usable(run: RunDir) -> None:
    """Refuse an output_dir that is a file, or holds something other than a run.

    Raises:
        UserError: naming what is there.
    """
    if run.path.exists() and not run.path.is_dir():
        raise UserError("output_dir", f"{run.path} is a file", "Choose a folder.")
    if run.path.is_dir() and not run.is_run():
        half_written = {path.name for path in run.path.glob(".*.tmp")}
        foreign = {entry.name for entry in run.path.iterdir()} - OWN_FILES - half_written
        if foreign:
            raise UserError(
                "output_dir",
                f"{run.path} holds other files ({', '.join(sorted(foreign)[:3])}) and no run",
                "Choose a new or empty folder.",
            )


def require_hardware(config: Config) -> None:
    """Refuse what needs a GPU where there is none.

    Raises:
        UserError: there is none, or no package for what it is to do.
    """
    import torch

    from memshield.families.memory import require_device

    if config.mixed_precision == "fp16" and not torch.cuda.is_available():
        raise UserError("mixed_precision", "fp16 needs a GPU, and there is none", "Use no or bf16.")
    require_device(config)
    require_package(config)


def require_agreement(ranks: Ranks, config: Config) -> None:
    """Refuse to start where ranks run other code, packages or settings than rank 0.

    Raises:
        UserError: on rank 0, naming the rank and what differs.
    """
    if ranks.count == 1:
        return
    found = ranks.gather(_identity(config))
    for rank, theirs in enumerate(found):
        for what, value in found[0].items():
            if theirs[what] != value and ranks.is_first:
                raise UserError(
                    "accelerate launch",
                    f"process {rank} differs from process 0 in {what}"
                    f"{_difference(value, theirs[what])}",
                    "Every machine needs the same code, packages and config.",
                )


def require_shared(ranks: Ranks, run: RunDir, processes: Sequence[dict[str, Any]]) -> None:
    """Refuse an output_dir that another rank does not see, though it may have one like it.

    Args:
        ranks: the processes of the run.
        run: the run directory as this rank sees it.
        processes: of the run, which rank 0 has written into it.

    Raises:
        UserError: on rank 0, and on the rank that does not see it.
    """
    sees = ranks.gather(run.read_status().get("processes") == list(processes))
    blind = [rank for rank, does in enumerate(sees) if not does]
    if blind and (ranks.is_first or ranks.rank in blind):
        raise UserError(
            "output_dir",
            f"process {', '.join(map(str, blind))} does not see the {run.path} of process 0",
            "Put it on a file system that all machines share.",
        )


def _identity(config: Config) -> dict[str, Any]:
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    settings = yaml.safe_load(to_yaml(config))
    del settings["output_dir"]  # nodes may reach the same folder by different paths
    return {
        "the code of memshield": digest.hexdigest(),
        "package versions": {name: version(name) for name in _PACKAGES},
        "settings": settings,
    }


def _difference(first: Any, other: Any) -> str:
    if not isinstance(first, dict):
        return ""
    return ": " + ", ".join(
        f"{name} {other[name]!r}, not {value!r}"
        for name, value in first.items()
        if other[name] != value
    )


def make_accelerator(config: Config, run: RunDir) -> Accelerator:
    """accelerate's choice of device, precision and trackers; nothing is ever `prepare`d."""
    import torch
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    if config.allow_tf32:
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    return Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision=config.mixed_precision,
        log_with=config.report_to,
        project_config=ProjectConfiguration(str(run.path), logging_dir=str(run.logs)),
    )
