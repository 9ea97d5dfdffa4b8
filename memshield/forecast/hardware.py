"""The hardware of this machine: GPUs, cores and memory. No torch."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from memshield.families.kinds import FLOW, FamilyName

_CGROUP = Path("/sys/fs/cgroup")
_QUERY = ("--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits")
_SECONDS = 10
_BF16_SINCE = 8.0
"""Compute capability; GPUs before compute in bf16 slowly or not at all."""


def is_busy() -> bool:
    """Whether more runs on this machine than it has cores."""
    return os.getloadavg()[0] > (os.cpu_count() or 1) + 1


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    Attributes:
        name: as its driver says.
        memory_bytes: all of it.
        bf16: whether it computes in bf16.
    """

    name: str
    memory_bytes: int
    bf16: bool


@dataclass(frozen=True)
class Machine:
    """A machine.

    Attributes:
        gpus: as their driver lists them.
        cores: CPU cores that this process may use.
        memory_bytes: of the host, or what this process may take of it.
    """

    gpus: tuple[Gpu, ...]
    cores: int
    memory_bytes: int

    def precision(self, family: FamilyName) -> str:
        """The `mixed_precision` that a text model is trained in here."""
        if not self.gpus:
            return "no"
        # In fp16 SDXL's own VAE overflows, and so do large transformers.
        safe = family != "stable_diffusion_xl" and family not in FLOW
        return "bf16" if self.gpus[0].bf16 or not safe else "fp16"

    def in_words(self) -> str:
        """In a line."""
        if not self.gpus:
            return f"no GPU; {self.cores} CPU cores, {self.memory_bytes / 1e9:.0f} GB of memory"
        first = self.gpus[0]
        count = f"{len(self.gpus)} x " if len(self.gpus) > 1 else ""
        return f"{count}{first.name}, {first.memory_bytes / 1e9:.0f} GB"


def available_cores() -> int:
    """CPU cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    # A container's share, which neither psutil nor the affinity knows.
    match _limits(_CGROUP / "cpu.max"):
        case [quota, period] if period:
            cores = min(cores, max(1, quota // period))
    return cores


def this_machine() -> Machine:
    """The hardware that this process can use; a driver that does not answer counts as no GPU."""
    memory: int = psutil.virtual_memory().total
    match _limits(_CGROUP / "memory.max"):
        case [limit]:
            memory = min(memory, limit)
    return Machine(_gpus(), available_cores(), memory)


def _limits(file: Path) -> list[int]:
    """The numbers of a container's limit; [] where there is none."""
    try:
        words = file.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return []
    return [int(word) for word in words] if all(map(str.isdecimal, words)) else []


def _gpus() -> tuple[Gpu, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        said = subprocess.run(
            [program, *_QUERY], capture_output=True, text=True, timeout=_SECONDS, check=True
        ).stdout
    except (OSError, UnicodeDecodeError, subprocess.SubprocessError):
        return ()
    return tuple(gpu for row in csv.reader(said.splitlines()) if (gpu := _gpu(row)) is not None)


def _gpu(row: list[str]) -> Gpu | None:
    try:
        name, mebibytes, capability = (cell.strip() for cell in row)
        return Gpu(name, int(mebibytes) * 2**20, float(capability) >= _BF16_SINCE)
    except ValueError:  # "[N/A]", or an error message
        return None
