"""The commands that tasks run: the same that a person would type."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memshield.config.shipped import APP_ROOT
from memshield.jobs.records import Place
from memshield.sampling.request import SampleArguments

ROOT = APP_ROOT
"""Where tasks are run: relative paths such as those of configs/ mean the ones here."""


class Commands:
    """Argument lists of tasks.

    Args:
        on_gpu: whether they are run on a GPU.
    """

    def __init__(self, on_gpu: bool) -> None:
        self._launcher = "single_gpu" if on_gpu else "cpu"

    def train(self, settings: Path) -> list[str]:
        """Train, or go on training.

        Args:
            settings: the config file.
        """
        return [
            *(sys.executable, "-m", "accelerate.commands.launch"),
            *("--config_file", f"configs/accelerate/{self._launcher}.yaml"),
            *("-m", "memshield.train", "--config", str(settings)),
        ]

    def submit(self, settings: Path, place: Place) -> list[str]:
        """Train in another place, or follow there what another store began.

        Args:
            settings: the config file.
            place: where.
        """
        program = [sys.executable, "-m", "memshield"]
        if place.mark:
            return [*program, "follow", place.run]
        machine = ["--hardware", place.hardware, "--timeout", f"{place.seconds}s"]
        if place.found:
            return [*program, "resume", place.run, *machine]
        return [*program, "submit", "--config", str(settings), *machine]

    def measure(self, settings: Path, output: Path) -> list[str]:
        """Measure the time and memory of a training by a few of its steps.

        Args:
            settings: the config file.
            output: JSON file of what was found.
        """
        return [
            *(sys.executable, "-m", "memshield", "plan", "--config", str(settings)),
            *("--measure", "--output", str(output)),
        ]

    def sample(self, arguments: SampleArguments) -> list[str]:
        """Make pictures with a published model.

        Args:
            arguments: which, and where to.
        """
        return [sys.executable, "-m", "memshield", "sample", *arguments.words()]

    def on_run(self, run: Path, task: Sequence[str]) -> list[str]:
        """Do something with a run that has been trained.

        Args:
            run: the run directory.
            task: name and arguments of the command; see `AuditAsked.task`.
        """
        name, *words = task
        return [sys.executable, "-m", "memshield", name, str(run), *words]

    def on_run_there(self, place: Place) -> list[str]:
        """Do something with a run where it was trained.

        Args:
            place: the run, and the task.
        """
        name, *words = place.task
        machine = ["--hardware", place.hardware, "--timeout", f"{place.seconds}s"]
        return [sys.executable, "-m", "memshield", name, place.run, *machine, *words]

    def audit_model(self, words: Sequence[str]) -> list[str]:
        """Audit a model that is no run's.

        Args:
            words: which, and where to; see `ModelAuditArguments.words`.
        """
        return [sys.executable, "-m", "memshield", "audit", *words]

    def publish(
        self, run: Path, settings: Mapping[str, Any], beside: Mapping[str, Path]
    ) -> list[str]:
        """Publish a run, or go on publishing it.

        Args:
            run: the run directory.
            settings: of publishing, that differ from those of the run.
            beside: audited run directories to show on the card, by name.
        """
        words = [sys.executable, "-m", "memshield", "publish", str(run)]
        for name, value in settings.items():
            words.append(f"--{name}")
            words += [_word(item) for item in value] if isinstance(value, list) else [_word(value)]
        for name, path in beside.items():
            words += ["--beside", f"{name}={path}"]
        return words


def as_typed(command: Sequence[str]) -> str:
    """A command as a person would type it, where packages are on the path."""
    words = list(command)
    if words[1:3] == ["-m", "accelerate.commands.launch"]:
        words = ["accelerate", "launch", *words[3:]]
    elif words and words[0] == sys.executable:
        words[0] = "python"
    return shlex.join(words)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)
