"""Hardware of Hub Spaces and Jobs that a training can run on, with its makers' figures."""

from __future__ import annotations

from dataclasses import dataclass

from memshield.forecast.hardware import Gpu, Machine


@dataclass(frozen=True)
class Hardware:
    """The hardware of one training process: one GPU, or the CPU.

    Attributes:
        name: the Hub's, such as a10g-small; that of the GPU for others.
        device: in words.
        gpu: name of its GPU; "" where there is none.
        memory_bytes: of the GPU, or of the host where there is none.
        half_tflops: dense products in bf16 (fp16 on the T4), without sparsity; 0 without a GPU.
        tflops: in float32 without tensor cores; all cores together where there is no GPU.
        bf16: whether the GPU computes in bf16.
    """

    name: str
    device: str
    memory_bytes: int
    half_tflops: float
    tflops: float
    bf16: bool = True
    gpu: str = ""

    @property
    def has_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.half_tflops > 0


# NVIDIA's data sheets: dense tensor-core rates (the sheets of L4, L40S and H100 print twice these,
# with sparsity), float32 rates, memory. The A10G is Amazon's part and not NVIDIA's A10: 70 TFLOPS
# are AWS's figure for it (EC2 G5). A100 is the 80 GB one, H100 the SXM one.
_GPUS = {
    "T4": (16, 65.0, 8.1),
    "L4": (24, 121.0, 30.3),
    "A10G": (24, 70.0, 31.2),
    "L40S": (48, 362.0, 91.6),
    "A100": (80, 312.0, 19.5),
    "H100": (80, 989.0, 67.0),
    "H200": (141, 989.0, 67.0),
}
# Names as the Hub lists them, with the GPU of each, how many, and the CPU cores; a training process
# takes one GPU.
_FLAVOURS = {
    "t4-small": ("T4", 1, 4),
    "t4-medium": ("T4", 1, 8),
    "l4x1": ("L4", 1, 8),
    "l4x4": ("L4", 4, 48),
    "a10g-small": ("A10G", 1, 4),
    "a10g-large": ("A10G", 1, 12),
    "a10g-largex2": ("A10G", 2, 24),
    "a10g-largex4": ("A10G", 4, 48),
    "l40sx1": ("L40S", 1, 8),
    "l40sx4": ("L40S", 4, 48),
    "l40sx8": ("L40S", 8, 192),
    "a100-large": ("A100", 1, 12),
    "a100x4": ("A100", 4, 48),
    "a100x8": ("A100", 8, 96),
    "h100": ("H100", 1, 23),
    "h100x8": ("H100", 8, 184),
    "h200": ("H200", 1, 23),
}
_CPUS = {"cpu-basic": (2, 16), "cpu-upgrade": (8, 32)}

CORE_TFLOPS = 0.045
"""A CPU core in training: the demo's UNet at batch 32, measured (tests/bench, step_cpu)."""


def _gpu(name: str, kind: str, memory_bytes: int | None = None) -> Hardware:
    gigabytes, half, single = _GPUS[kind]
    return Hardware(
        name,
        f"NVIDIA {kind}, {gigabytes} GB",
        memory_bytes or gigabytes * 10**9,
        half,
        single,
        bf16=kind != "T4",
        gpu=f"NVIDIA {kind}",
    )


def _cpu(name: str, cores: int, memory_bytes: int) -> Hardware:
    words = f"{cores} CPU cores, {memory_bytes / 1e9:.0f} GB"
    return Hardware(name, words, memory_bytes, 0.0, cores * CORE_TFLOPS)


FLAVOURS: dict[str, Hardware] = {
    **{name: _cpu(name, cores, memory * 10**9) for name, (cores, memory) in _CPUS.items()},
    **{name: _gpu(name, kind) for name, (kind, _, _) in _FLAVOURS.items()},
}
"""By the Hub's names."""
ONE_GPU = "With one GPU; the others help as far as there are shards, and are paid for in any case."
"""What belongs to every estimate for hardware with several."""


def gpus_of(name: str) -> int:
    """How many GPUs a hardware of the Hub has; 0 for one without, or that is not known."""
    return _FLAVOURS[name][1] if name in _FLAVOURS else 0


def hardware_of(machine: Machine) -> Hardware | None:
    """The hardware that a training on a machine uses; None for a GPU without known figures."""
    if not machine.gpus:
        return _cpu("this machine", machine.cores, machine.memory_bytes)
    first = machine.gpus[0]
    kind = _kind_of(first.name)
    return None if kind is None else _gpu(first.name, kind, first.memory_bytes)


def _kind_of(name: str) -> str | None:
    # As drivers write it: "Tesla T4", "NVIDIA A100-SXM4-80GB".
    words = name.upper().replace("-", " ").split()
    return next((word for word in words if word in _GPUS), None)


def flavour_of(machine: Machine, said: str = "") -> str | None:
    """The Hub's name of a Space's hardware; None where it is unknown.

    Args:
        machine: on which this runs.
        said: the CPU_CORES of a Space's environment, which does not name the hardware.
    """
    there = int(said) if said.isdecimal() else machine.cores
    if not machine.gpus:
        return next((name for name, (cores, _) in _CPUS.items() if there <= cores), None)
    kind, count = _kind_of(machine.gpus[0].name), len(machine.gpus)
    fitting = [
        (cores, name) for name, (gpu, gpus, cores) in _FLAVOURS.items()
        if (gpu, gpus) == (kind, count)
    ]  # fmt: skip
    large = [name for cores, name in sorted(fitting) if there <= cores]
    return large[0] if large else (max(fitting)[1] if fitting else None)


def machine_with(hardware: Hardware) -> Machine:
    """A machine with one process's share of a hardware, for what follows from a machine."""
    if not hardware.has_gpu:
        return Machine((), max(1, round(hardware.tflops / CORE_TFLOPS)), hardware.memory_bytes)
    gpu = Gpu(hardware.gpu, hardware.memory_bytes, hardware.bf16)
    return Machine((gpu,), 4, hardware.memory_bytes)
