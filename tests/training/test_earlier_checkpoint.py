"""A checkpoint of an earlier version, and the end that version came to from it.

`earlier_run` is an ensemble of two shards, cut in the second one's turn of the fifth round: it has
moving averages, an outer momentum, loss banks, moments and a noise level that has stopped.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from memshield.config.file import make_config, read_yaml
from memshield.families import load
from memshield.families.base import Placement
from memshield.rundir import EventLog, RunDir
from memshield.train import main
from memshield.training.checkpoint import MANIFEST, Checkpoint, CheckpointFile, RoundProgress
from memshield.training.interruption import StopRequest
from memshield.training.loop import Trainer
from memshield.training.progress import Listener
from memshield.training.ranks import Ranks
from memshield.training.setup import Setup
from memshield.training.start import lead, make_encoder
from tests.trained_runs import weights

EARLIER = Path(__file__).parent / "earlier_run"
STEP = 48


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A copy of the run, from whose parent its config's paths are."""
    copy = tmp_path / "copy"
    shutil.copytree(EARLIER, copy)
    monkeypatch.chdir(copy)
    return RunDir("run")


def trainer_of(run: RunDir) -> Trainer:
    stop = StopRequest()
    ranks = Ranks(stop)
    prepared = lead(make_config(read_yaml(run.config)), run, EventLog(run, 1))
    family = load(
        prepared.config, prepared.facts, Placement.of(prepared.config, torch.device("cpu"))
    )
    reader, encoder = make_encoder(prepared, family, ranks)
    setup = Setup(
        prepared.config, prepared.examples, prepared.budget, run, ranks, stop, family, encoder,
        reader,
    )  # fmt: skip
    return Trainer(setup, Listener())


def test_every_bit_of_it_is_taken_over(run: RunDir) -> None:
    trainer = trainer_of(run)
    checkpoint = Checkpoint.read(run, STEP)
    at = trainer.checkpointer.restore(checkpoint)
    assert (at.round, at.place) == (4, RoundProgress(turn=1, done=3))
    trainer.stepper.begin_turn(trainer.shards[1])
    parts: dict[str, CheckpointFile] = {}
    for state in trainer.checkpointer.registered:
        parts |= state.parts(at)
    manifest = json.loads((checkpoint.folder / MANIFEST).read_text())
    versions = {name: entry["version"] for name, entry in manifest["files"].items()}
    assert {name: part.version for name, part in parts.items()} == versions
    for name, part in parts.items():
        if part.write is None:
            assert name == "start", "inside a round, only its start is no longer in memory"
            continue
        tensors, metadata = part.write()
        saved = load_file(checkpoint.path(name))
        assert tensors.keys() - saved.keys() <= {"lowest.best"}, "of which nothing is known yet"
        for key, tensor in saved.items():
            assert torch.equal(tensors[key], tensor), f"{name}: {key}"
        with safe_open(checkpoint.path(name), framework="pt") as file:
            for key, text in metadata.items():
                assert json.loads(text) == json.loads(file.metadata()[key]), name


def test_it_comes_to_the_same_end(run: RunDir) -> None:
    assert main(["--config", str(run.config)]) == 0
    found, expected = weights(run), load_file(EARLIER / "end.safetensors")
    assert len(found) == len(expected)
    for name, tensor in expected.items():
        # On another processor sums may be rounded otherwise.
        ours = found[f"unet/diffusion_pytorch_model.safetensors:{name}"]
        assert torch.allclose(ours, tensor, rtol=1e-4, atol=1e-5), name
    steps = [event["step"] for event in run.read_events() if event["type"] == "round"]
    assert steps == [50, 60]
