"""Estimates for this machine, corrected by how long its earlier runs took."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from memshield.config.file import Config
from memshield.errors import UserError
from memshield.forecast.cost import ModelSize, cost_of
from memshield.forecast.estimate import MEASURED_FACTOR, Estimate, Range
from memshield.forecast.flavours import hardware_of
from memshield.forecast.hardware import Machine
from memshield.forecast.totals import numbers
from memshield.jobs.records import Job
from memshield.jobs.service import Jobs
from memshield.rundir import RunDir

_LOOKED_AT = 20
"""Runs, the newest first."""
_SHORTEST = 30.0
"""Seconds: a shorter run is little more than its start."""
_ALIKE = 8.0
"""How many times longer or shorter a training may be than the one that tells its pace."""
_TAIL = 4096


class RunPace:
    """Corrects the estimates of an owner's trainings, for the same model at the same resolution.

    Args:
        jobs: of all owners.
        owner: whose finished runs are looked at.
        machine: on which they ran.
    """

    def __init__(self, jobs: Jobs, owner: str, machine: Machine) -> None:
        self._jobs = jobs
        self._owner = owner
        self._machine = machine

    def __call__(self, config: Config, size: ModelSize, here: Estimate) -> Estimate:
        """The estimate by the pace of the newest run that is alike; else as it is."""
        hardware = hardware_of(self._machine)
        if hardware is None:
            return here
        for job in islice(self._jobs.list(self._owner), _LOOKED_AT):
            run = self._jobs.folders.run(job)
            taken = seconds_taken(job, run)
            if taken is None or taken < _SHORTEST:
                continue
            try:
                before = self._jobs.config(self._owner, job.id)
            except UserError:  # settings of an older version, or gone
                continue
            rows = _pictures(run)
            if rows is None or _kind(before) != _kind(config):
                continue
            if max(run.round_numbers(), default=0) < before.num_rounds:
                continue  # a memorization budget ended it: the rest was never trained
            expected = cost_of(before, numbers(before, rows), size, hardware).total_s
            seconds = here.middle_s * taken / expected
            if 1 / _ALIKE <= seconds / taken <= _ALIKE:
                return _by_pace(here, seconds)
        return here


def seconds_taken(job: Job, run: RunDir) -> float | None:
    """How long a run took that was trained at one go; None for any other."""
    status, begun = run.read_status(), job.tasks[0].started
    if job.tasks[0].work.place is not None:  # its hardware is another
        return None
    if status.get("state") != "done" or status.get("attempt") != 1 or begun is None:
        return None
    try:
        with run.events.open("rb") as file:
            file.seek(max(0, run.events.stat().st_size - _TAIL))
            lines = file.read().splitlines()
    except OSError:
        return None
    ended = _time(lines[-1]) if lines else None
    return ended - begun if ended is not None and ended > begun else None


def _time(line: bytes) -> float | None:
    try:
        event: Any = json.loads(line)
    except ValueError:
        return None
    time = event.get("time") if isinstance(event, dict) else None
    return float(time) if isinstance(time, (int, float)) else None


def _pictures(run: RunDir) -> int | None:
    """The number of pictures that a run knows."""
    import pyarrow.parquet
    from pyarrow.lib import ArrowException

    try:
        return int(pyarrow.parquet.read_metadata(run.examples).num_rows)
    except (OSError, ArrowException):
        return None


def _kind(config: Config) -> tuple[object, ...]:
    """What a step's time depends on beside the sizes that the cost model counts."""
    own = config.model_config_name_or_path
    return (
        config.pretrained_model_name_or_path,
        own and Path(own).name,
        config.training,
        config.resolution,
    )


def _by_pace(here: Estimate, seconds: float) -> Estimate:
    now = Range.about(seconds, MEASURED_FACTOR)
    dollars = here.dollars
    if dollars is not None:
        factor = now.high / here.seconds.high, now.low / here.seconds.low
        dollars = Range(dollars.low * factor[1], dollars.high * factor[0])
    return replace(here, seconds=now, dollars=dollars, by_runs=True)
