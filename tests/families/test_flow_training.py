"""Whole runs of a flow-matching family: trained, stopped by levels, resumed, audited, sampled."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from memshield.__main__ import main
from memshield.audit.report import Report
from memshield.config.file import make_config, read_yaml
from memshield.families.size import trainable_parameters
from memshield.rundir import RunDir
from memshield.training.level_stops import BandStops
from tests.families import loaded, looked_up, sample
from tests.tiny import image_folder
from tests.trained_runs import flags, go_back, train, weights

METHOD: dict[str, Any] = {
    "resolution": 16,
    "held_out_fraction": 0.25,
    "watch_fraction": 0.2,
    "num_shards": 2,
    "num_rounds": 2,
    "max_train_steps": 8,
    "checkpointing_steps": 2,
    "train_batch_size": 4,
    "learning_rate": 1e-2,
    "timestep_bias_share": 0.1,
    "stop_levels": True,
    "watch_draws": 8,
    "watch_bins": 4,
    "num_validation_images": 2,
    "num_inference_steps": 2,
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("set"), 120)


OTHERS = ("tiny_flux", "tiny_z_image", "tiny_qwen_image", "tiny_flux2_klein", "tiny_krea2")
TEMPLATED = ("tiny_qwen_image", "tiny_krea2")
KINDS = ["tiny_sd3", *(pytest.param(kind, marks=pytest.mark.slow) for kind in OTHERS)]


@pytest.fixture(scope="module", params=KINDS)
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pictures: Path
) -> RunDir:
    """A LoRA with everything that a method has, trained to its end."""
    return train(
        pretrained_model_name_or_path=request.getfixturevalue(request.param),
        train_data_dir=pictures,
        output_dir=tmp_path_factory.mktemp("lora") / "run",
        # Their templates alone have some 200 letters.
        max_sequence_length=256 if request.param in TEMPLATED else 24,
        **METHOD,
    )


def test_a_run_is_whole(run: RunDir) -> None:
    assert run.read_status()["state"] == "done"
    settings = make_config(read_yaml(run.config))
    sd3 = "sd3" in str(settings.pretrained_model_name_or_path)
    assert settings.weighting_scheme == ("logit_normal" if sd3 else "none")
    assert len(list(run.samples.iterdir())) == 2
    base = settings.pretrained_model_name_or_path
    pictures = []
    for lora in (False, True):
        pipeline = DiffusionPipeline.from_pretrained(base)
        if lora:
            pipeline.load_lora_weights(run.model)
        pipeline.set_progress_bar_config(disable=True)
        words = {"negative_prompt": " "} if "qwen" in str(base) else {}
        made = pipeline(
            prompt="picture number 1", num_inference_steps=2, height=16, width=16,
            generator=torch.Generator().manual_seed(0), output_type="np", **words,
        )  # fmt: skip
        pictures.append(made.images[0])
    assert np.abs(pictures[0] - pictures[1]).max() > 1e-4
    watched = json.loads((run.path / "watch.json").read_text())
    bounds = watched["bounds"]
    assert bounds == sorted(bounds) and bounds[-1] < 1e5
    assert len(watched["checks"]) >= 2


def test_going_back_to_a_checkpoint_ends_with_the_same_bits(run: RunDir, tmp_path: Path) -> None:
    copy = RunDir(shutil.copytree(run.path, tmp_path / "run"))
    config = make_config(read_yaml(run.config))
    named = ("pretrained_model_name_or_path", "train_data_dir")
    settings = METHOD | {name: getattr(config, name) for name in (*named, "max_sequence_length")}
    middle = sorted(run.checkpoints())[1]
    assert middle % 4, "inside a round"
    reference = weights(run)
    go_back(middle, settings | {"output_dir": copy.path})
    again = weights(copy)
    assert reference.keys() == again.keys()
    assert all(torch.equal(tensor, again[name]) for name, tensor in reference.items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_level_learns_from_the_teacher_and_goes_on_with_the_same_bits(
    tmp_path: Path, kind: str, pictures: Path, request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    see = BandStops.see

    def stop_the_lowest(self: BandStops, losses: torch.Tensor, step: int) -> list[int]:
        """Whether a loss rises differs by model: which level stops is settled here."""
        found = see(self, losses, step)
        if step < 4 or self.stopped[0] >= 0:
            return found
        self.stopped[0] = step
        return [0, *found]

    monkeypatch.setattr(BandStops, "see", stop_the_lowest)
    settings = METHOD | {
        "pretrained_model_name_or_path": request.getfixturevalue(kind),
        "train_data_dir": pictures,
        "output_dir": tmp_path / "run",
        "max_sequence_length": 256 if kind in TEMPLATED else 24,
        "num_shards": 1,
        "num_rounds": 1,
        "watch_checks": 4,
        "stop_patience": 9,
        "num_validation_images": 0,
    }
    run = train(**settings)
    stopped = json.loads(run.watch.read_text())["stopped"]
    assert stopped == [4, None, None, None]
    reference = weights(run)
    copy = RunDir(shutil.copytree(run.path, tmp_path / "copy"))
    go_back(6, settings | {"output_dir": copy.path})
    again = weights(copy)
    assert all(torch.equal(tensor, again[name]) for name, tensor in reference.items())
    assert json.loads(copy.watch.read_text())["stopped"] == stopped


def test_the_aggregate_keeps_the_rank(run: RunDir) -> None:
    (state,) = [load_file(p) for p in (run.rounds / "1").glob("*.safetensors")]
    pairs = [name for name in state if ".lora_A." in name]
    assert pairs
    assert all(state[name].shape[0] == 4 for name in pairs)


def test_every_attack_of_an_audit_runs(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    # One of them takes 50 steps a caption.
    monkeypatch.setattr("memshield.audit.attacks.MOST_PROMPTS", 12)
    words = ["audit", str(run.path), "--num_images", "20", "--num_inference_steps", "2"]
    assert main(words) == 0
    report = Report.read(run.audit_of(None) / "report.json")
    assert len(report.membership) == 3
    assert all(0 <= attack.auc <= 1 for attack in report.membership)
    assert report.generated.broken == 0
    assert report.generated.count == 20


@pytest.mark.parametrize("cached", [True, False])
def test_a_full_training_is_a_whole_pipeline(
    tmp_path: Path, tiny_sd3: Path, captioned: Path, cached: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    settings: dict[str, Any] = {
        "pretrained_model_name_or_path": tiny_sd3,
        "train_data_dir": captioned,
        "training": "full",
        "random_flip": True,
        "use_ema": True,
        "cache_latents": cached,
        "proportion_empty_prompts": 0.2,
        "output_dir": tmp_path / "run",
        "num_shards": 2,
        "num_rounds": 1,
        "max_train_steps": 4,
        "train_batch_size": 4,
        "num_validation_images": 0,
    }
    assert main(["plan", *flags(**settings), "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)["disk_bytes"]
    run = train(**settings)
    pipeline = DiffusionPipeline.from_pretrained(run.model)
    sample(pipeline, "picture number 1")
    family = loaded(tiny_sd3, captioned, training="full")
    before = family.network.state_dict()
    family.load_saved(run.model)
    trained = pipeline.transformer.state_dict()
    assert all(torch.equal(tensor, trained[n]) for n, tensor in family.network.state_dict().items())
    assert before.keys() == trained.keys()
    config, facts = looked_up(tiny_sd3, captioned, training="full")
    held = family.trainable().values()
    assert trainable_parameters(config, facts) == sum(p.numel() for p in held)
    if cached:
        cache = Path(os.environ["MEMSHIELD_CACHE"])
        sizes = [sum(t.nbytes for t in load_file(p).values()) for p in cache.rglob("*.safetensors")]
        assert planned["encodings"] == sum(sizes)
