"""Audits by several processes: what they share, and that the result is that of one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor

from memshield.audit import measurement
from memshield.audit.generate import generate
from memshield.audit.measurement import ModelMeasurer
from memshield.audit.search.features import rows_of
from memshield.audit.subject import open_run
from memshield.audit.team import Team, _name_of_launch
from memshield.errors import UserError
from memshield.families import unconditional
from memshield.families.base import Family
from tests.audit.runs import QUICK, command, report_in, small_run
from tests.families import loaded
from tests.tiny import ddpm_pipeline
from tests.trained_runs import ROOT

ResultT = TypeVar("ResultT")


def together(folder: Path, count: int, call: Callable[[Team], ResultT]) -> list[ResultT]:
    """What every process of a team gets; here they are threads."""

    def one(rank: int) -> ResultT:
        team = Team(rank, count, folder / ".team-test")
        found = call(team)
        team.close()
        return found

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_a_feature_space_that_one_process_lacks_is_left_out_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub refuses it to one of them, for whose rows the others would wait."""
    run = small_run(tmp_path, max_train_steps=2, num_rounds=1)
    reference = open_run(run.path, None, {}).reference
    ranks: dict[int, int] = {}

    def open_or_refuse(name: str, device: torch.device) -> Any:
        if ranks[threading.get_ident()] == 1:
            raise UserError("features", "the Hub cannot be asked now", "Try again in a while.")
        return SimpleNamespace(name=name)

    monkeypatch.setattr(measurement, "open_features", open_or_refuse)

    def opened(team: Team) -> tuple[int, list[str]]:
        ranks[threading.get_ident()] = team.rank
        measurer = ModelMeasurer(reference, torch.device("cpu"), ("dino",), team=team)
        measurer.open()
        return len(measurer._features), [one.reason for one in measurer._missing]

    assert together(tmp_path, 2, opened) == [(1, ["the Hub cannot be asked now"])] * 2


@pytest.mark.parametrize("count", [2, 3])
def test_pictures_are_those_of_one_process(
    tmp_path: Path, captioned: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(unconditional, "_AT_MOST", 4)
    base = ddpm_pipeline(tmp_path / "base")
    alone = generate(loaded(base, captioned), tmp_path / "alone", 18, 5, None, 2)
    families: list[Family] = [loaded(base, captioned) for _ in range(count)]
    sampled: list[list[int]] = [[] for _ in range(count)]
    for family, seeds_of in zip(families, sampled, strict=True):
        sample = family.sample

        def noted(seeds: Any, *rest: Any, sample: Any = sample, seen: list[int] = seeds_of) -> Any:
            seen += seeds
            return sample(seeds, *rest)

        monkeypatch.setattr(family, "sample", noted)
    found = together(
        tmp_path, count,
        lambda team: generate(
            families[team.rank], tmp_path / "shared", 18, 5, None, 2, team=team
        ).images[:],
    )  # fmt: skip
    assert all(np.array_equal(one, alone.images[:]) for one in found)
    assert sorted(seed for part in sampled for seed in part) == sorted(set().union(*sampled))
    assert all(len(part) in (4, 6, 8, 10) for part in sampled)  # none makes all of them
    assert not list(tmp_path.glob(".team-*"))


@pytest.mark.parametrize("number", [1, 64, 200])
def test_rows_are_those_of_one_process(tmp_path: Path, number: int) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (number, 1, 4, 4), dtype=np.uint8)
    asked: list[int] = []

    class Means:
        name = "means"

        def __call__(self, pictures: Tensor) -> Tensor:
            asked.append(len(pictures))
            return pictures.float().mean(dim=(1, 2))

    alone = rows_of(pictures, Means())
    asked.clear()
    found = together(tmp_path, 3, lambda team: rows_of(pictures, Means(), team=team))
    assert all(np.array_equal(one, alone) for one in found)
    assert sum(asked) == number


def test_what_an_earlier_launch_left_is_cleared_up(tmp_path: Path) -> None:
    old = tmp_path / ".team-1-2.00"
    old.mkdir()
    (old / "0-0.json").write_text("1")
    # Another launch in the same folder, which will be refused, takes nothing from this one.
    other = tmp_path / _name_of_launch(psutil.Process())
    other.mkdir()
    assert together(tmp_path, 2, lambda team: team.gather(team.rank)) == [[0, 1], [0, 1]]
    assert not old.exists()
    assert other.exists()


def test_several_machines_and_a_lost_launcher_are_refused(tmp_path: Path) -> None:
    environment = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "0"}
    with pytest.raises(UserError, match="one machine"):
        Team.of_launch(tmp_path, environment)
    assert Team.of_launch(tmp_path, {}).count == 1
    team = Team(0, 2, tmp_path / ".team-x")
    team._launcher = -1
    with pytest.raises(UserError, match="the launcher is gone"):
        team.gather(None)


@pytest.mark.slow
@pytest.mark.process
def test_an_audit_that_was_launched_twice_over_finds_what_one_finds(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    command("audit", run.path, *QUICK)
    alone = report_in(run.audit_of(None))
    launched = subprocess.run(
        [
            sys.executable, "-m", "accelerate.commands.launch",
            "--config_file", "configs/accelerate/cpu_2_processes.yaml",
            "-m", "memshield", "audit", str(run.path), *QUICK, "--round", "3",
        ],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert launched.returncode == 0, launched.stderr
    assert launched.stdout.count("report.html") == 1  # one of them speaks
    found = report_in(run.audit_of(3))
    assert found.memorization == alone.memorization
    assert found.quality == alone.quality
    assert found.membership == alone.membership
    assert not list(run.audit_of(3).glob(".team-*"))
