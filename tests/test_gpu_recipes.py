"""The recipes of tests/bench/gpu for flow-matching models, tried at a tiny size without a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memshield.config.file import Config
from tests.bench import gpu_flow
from tests.bench.gpu_flow import cost_and_saving, flow_shards, preset_steps
from tests.bench.gpu_models import FLOW_MODELS, TINY, Size

ONCE = replace(TINY, repeats=1)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "FLUX.2 klein base 4B" else [pytest.mark.slow])
        for name in FLOW_MODELS
    ],
)
def test_a_step_by_a_preset(name: str) -> None:
    figures = preset_steps(name, ONCE, "cpu", ["80gb"])["80gb"]
    assert figures["seconds"] > 0
    assert figures["estimated_bytes"] < figures["planned_bytes"]


def test_what_a_setting_costs_and_saves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offloading needs a GPU; another setting takes the same way."""
    measure, measured = gpu_flow._step, []

    def step(folder: Path, config: Config, size: Size, device: str) -> dict[str, Any] | None:
        """As measured, but each takes a second more than the one before."""
        measured.append(config.model_dump())
        found = measure(folder, config, size, device)
        return found and found | {"seconds": float(len(measured))}

    monkeypatch.setattr(gpu_flow, "_step", step)
    figures = cost_and_saving(FLOW_MODELS[0], ONCE, "cpu", "enable_layerwise_casting")
    without, with_it = measured
    assert not without["enable_layerwise_casting"]
    assert with_it == without | {"enable_layerwise_casting": True}
    assert figures["seconds_ratio"] == 2
    assert figures["saved_bytes_estimated"] > 0


@pytest.mark.slow
def test_many_shards_beside_one() -> None:
    figures = flow_shards(FLOW_MODELS[0], ONCE, "cpu")
    assert set(figures["peak_bytes"]) == {"shards_1", "shards_8"}
