"""accelerate's own process, which starts this one: what it was asked for, and what it adds."""

from __future__ import annotations

import argparse
import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from memshield.errors import UserError

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

    def number(self, name: str) -> int | None:
        """A number among its flags or, where it is not there, in the file that they name."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--config_file", "--config-file")
        parser.add_argument(f"--{name}", f"--{name.replace('_', '-')}", dest="number", type=int)
        flags, others = parser.parse_known_args(list(self.words[1:]))
        file = flags.config_file
        if flags.number is not None:
            return int(flags.number)
        if file is None and "--cpu" not in others:
            from accelerate.commands.config.config_args import default_config_file

            file = default_config_file
        if file is None:
            return None
        try:
            values: Any = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
            return int(values[name])
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
            return None


def find_accelerate() -> AccelerateProcess | None:
    """The launcher; None where there is none, it cannot be read, or there are several processes."""
    if "ACCELERATE_MIXED_PRECISION" not in os.environ or not _is_alone():
        return None
    try:
        parent = psutil.Process().parent()
        words = tuple(parent.cmdline()) if parent is not None else ()
        # A container sets the same variables, and starts this process itself.
        is_launcher = any(Path(word).name.startswith("accelerate") for word in words)
        return AccelerateProcess(words, parent.environ()) if parent and is_launcher else None
    except psutil.Error:
        return None


def _is_alone() -> bool:
    return os.environ.get("WORLD_SIZE", "1") == "1"


def use_all_cores(launcher: AccelerateProcess | None, cores: int) -> None:
    """Let torch use every core; must be called before torch is imported.

    accelerate sets one thread unless it is told otherwise: that is meant for several processes.
    torch itself would take the cores of the host, of which a container may have few.

    Args:
        launcher: from `find_accelerate`; of several processes each keeps its threads.
        cores: that this process may use.
    """
    named = launcher.names_threads if launcher is not None else _THREADS in os.environ
    if _is_alone() and not named:
        os.environ[_THREADS] = str(cores)
        # Threads that spin while they wait take the cores from each other, and from whatever else
        # runs: on a busy machine steps would take seconds. These spin for microseconds, then sleep.
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def join_machines(
    launcher: AccelerateProcess | None, environment: MutableMapping[str, str] = os.environ
) -> None:
    """Give a process on the CPU its place among those of several machines.

    With `--cpu`, accelerate starts one process a machine and tells it where the first one is, but
    not which one it is itself: each would train the whole run.

    Args:
        launcher: from `find_accelerate`.
        environment: of this process.

    Raises:
        UserError: it is to start more processes than it does.
    """
    if launcher is None or "RANK" in environment or "MASTER_ADDR" not in environment:
        return
    machines = launcher.number("num_machines") or 1
    if machines == 1:
        return
    processes = launcher.number("num_processes") or machines
    if processes != machines:
        raise UserError(
            "accelerate launch",
            f"with --cpu it starts one process a machine, not {processes} on {machines}",
            f"Give --num_processes {machines}, or use configs/accelerate/multi_node.yaml with "
            "use_cpu: true and leave --cpu out.",
        )
    rank = launcher.number("machine_rank") or 0
    environment.update(RANK=str(rank), WORLD_SIZE=str(machines), LOCAL_RANK="0")
    environment["LOCAL_WORLD_SIZE"] = "1"


def note_on_traceback(launcher: AccelerateProcess | None, code: int) -> str | None:
    """What a person should know of the traceback that accelerate prints under our own message.

    Args:
        launcher: from `find_accelerate`.
        code: this process's exit code.
    """
    if launcher is None or launcher.is_quiet or not 0 < code < 128:
        return None
    return (
        f"(The traceback below is accelerate's and only says that this process ended with code "
        f"{code}. `accelerate launch -q` leaves it out.)"
    )
