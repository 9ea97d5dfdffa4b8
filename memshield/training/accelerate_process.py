"""accelerate's own process, which starts this one: what it was asked for, and what it adds."""

from __future__ import annotations

import os
from dataclasses import dataclass

import psutil

_THREADS = "OMP_NUM_THREADS"
_SPINS = "5000"
_THREAD_FLAGS = ("--num_cpu_threads_per_process", "--num-cpu-threads-per-process")


@dataclass(frozen=True)
class AccelerateProcess:
    """The `accelerate launch` of a training that has one process.

    Attributes:
        words: its command line.
        environment: what it was started with.
    """

    words: tuple[str, ...]
    environment: dict[str, str]

    @property
    def names_threads(self) -> bool:
        """Whether a person said how many CPU threads to use."""
        flags = {word.partition("=")[0] for word in self.words}
        return _THREADS in self.environment or not flags.isdisjoint(_THREAD_FLAGS)

    @property
    def is_quiet(self) -> bool:
        """Whether it leaves its traceback out when the training fails."""
        return not {"-q", "--quiet"}.isdisjoint(self.words)


def find_accelerate() -> AccelerateProcess | None:
    """The launcher; None where there is none, it cannot be read, or there are several processes."""
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    if "ACCELERATE_MIXED_PRECISION" not in os.environ or not alone:
        return None
    try:
        parent = psutil.Process().parent()
        return parent and AccelerateProcess(tuple(parent.cmdline()), parent.environ())
    except psutil.Error:
        return None


def use_all_cores(launcher: AccelerateProcess | None, cores: int) -> None:
    """Let torch use every core; must be called before torch is imported.

    accelerate sets one thread unless it is told otherwise: that is meant for several processes.

    Args:
        launcher: from `find_launcher`; with None, threads stay as they are.
        cores: that this process may use.
    """
    if launcher is not None and not launcher.names_threads:
        os.environ[_THREADS] = str(cores)
        # Threads that spin while they wait take the cores from each other, and from whatever else
        # runs: on a busy machine steps would take seconds. These spin for microseconds, then sleep.
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def note_on_traceback(launcher: AccelerateProcess | None, code: int) -> str | None:
    """What a person should know of the traceback that accelerate prints under our own message.

    Args:
        launcher: from `find_launcher`.
        code: this process's exit code.
    """
    if launcher is None or launcher.is_quiet or not 0 < code < 128:
        return None
    return (
        f"(The traceback below is accelerate's and only says that this process ended with code "
        f"{code}. `accelerate launch -q` leaves it out.)"
    )
