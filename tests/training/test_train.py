"""The training command: what it leaves behind, what it refuses, and why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from memshield.config.file import make_config, read_yaml
from memshield.rundir import RunDir
from memshield.training.checkpoint import MANIFEST
from tests.tiny import ddpm_pipeline, image_folder, unet_config
from tests.trained_runs import ROOT, digits, flags, refused, train, weights

SHORT: dict[str, Any] = {"num_rounds": 1, "max_train_steps": 6}
"""Three steps a shard, saved after each shard."""


@pytest.fixture
def unet(tmp_path: Path) -> Path:
    return unet_config(tmp_path / "unet")


# What a run leaves


def test_the_run_directory(tmp_path: Path, unet: Path) -> None:
    run = train(**digits(tmp_path / "run", unet, num_validation_images=4, num_inference_steps=3))
    status = run.read_status()
    assert status["state"] == "done"
    assert status["reason"] is None
    assert status["step"] == status["total_steps"] == 24
    assert status["processes"][0]["pid"] == os.getpid()
    events = run.read_events()
    assert {event["v"] for event in events} == {1}
    assert [e["step"] for e in events if e["type"] == "round"] == [8, 16, 24]
    last = [e for e in events if e["type"] == "step"][-1]
    assert last["step"] == 24
    assert set(last) >= {"time", "round", "shard", "loss", "kept", "lr", "eta_s", "attempt"}
    assert events[-1]["type"] == "done"
    config = make_config(read_yaml(run.config))
    assert (config.training, config.resolution, config.skip_threshold) == ("full", 8, 0.5)
    assert sorted(int(p.name) for p in run.rounds.iterdir()) == [1, 2, 3]
    with Image.open(run.samples / "round-0003.png") as grid:
        assert grid.size == (2 + 2 * 50, 2 + 2 * 50)
    draws = pq.read_table(run.skips)["draws"].to_pylist()
    assert sum(draws) == 24 * 4
    splits = pq.read_table(run.examples)["split"].to_pylist()
    assert len(draws) == splits.count("member") == 54
    assert splits.count("held_out") == 6
    assert not list(run.path.rglob("*.tmp"))
    assert not [p for p in run.path.rglob("*") if p.suffix in (".bin", ".pt", ".pkl", ".pth")]


def test_a_training_says_how_long_it_will_take(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = digits(tmp_path / "run", Path("configs/models/digits-unet.json"), max_train_steps=6)
    with caplog.at_level("INFO", logger="memshield"):
        train(**settings)
    said = [line for line in caplog.messages if "a rough estimate" in line]
    assert len(said) == 1
    assert said[0].startswith("The whole run takes ")


def test_a_finished_run_is_left_alone(tmp_path: Path, unet: Path) -> None:
    settings = digits(tmp_path / "run", unet, **SHORT)
    run = train(**settings)
    written = run.model.stat().st_ino
    for _ in range(2):
        train(**settings)
        assert run.model.stat().st_ino == written
        assert run.read_status()["state"] == "done"
    assert [event["type"] for event in run.read_events()].count("done") == 1


def test_settings_that_may_differ_do_on_resume(tmp_path: Path, unet: Path) -> None:
    settings = digits(tmp_path / "run", unet)
    run = train(**settings)
    before = weights(run)
    for step in run.checkpoints()[3:]:
        for path in run.checkpoint(step).iterdir():
            path.unlink()
        run.checkpoint(step).rmdir()
    run.status.unlink()
    train(**{**settings, "checkpointing_steps": 100, "checkpoints_total_limit": 5})
    for name, tensor in weights(run).items():
        assert torch.equal(tensor, before[name])


def test_tensorboard_gets_the_figures(tmp_path: Path, unet: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(**digits(tmp_path / "run", unet, report_to="tensorboard"))
    accumulator = EventAccumulator(str(run.logs / "memshield"))
    accumulator.Reload()
    assert {"loss", "kept", "lr", "round_loss"} <= set(accumulator.Tags()["scalars"])
    assert [event.step for event in accumulator.Scalars("round_loss")] == [8, 16, 24]
    assert str(tmp_path) not in "".join(
        path.read_bytes().decode("latin-1") for path in run.logs.rglob("*") if path.is_file()
    ), "no local path goes to a tracker"


def test_a_nan_loss_fails_clearly(
    tmp_path: Path, unet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ddpm_pipeline(tmp_path / "base")
    file = base / "unet/diffusion_pytorch_model.safetensors"
    state = load_file(file)
    state["conv_in.weight"].fill_(float("nan"))
    save_file(state, file)
    settings = digits(tmp_path / "run", unet, pretrained_model_name_or_path=base)
    del settings["model_config_name_or_path"]
    run = train(expect=1, **settings)
    status = run.read_status()
    assert status["state"] == "failed"
    assert status["error"] == "diverged"
    assert "the loss of step 0 of shard 0 is nan" in status["reason"]
    assert "lower learning_rate" in status["reason"]
    assert "Traceback" not in capsys.readouterr().err
    assert not run.model.exists()


@pytest.mark.parametrize("changes", [{}, {"num_shards": 1, "num_rounds": 1}])
def test_a_gradient_that_is_no_number_is_neither_averaged_nor_saved(
    tmp_path: Path, unet: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """Its loss was finite, and no other follows before the weights are used."""
    clip, steps = torch.nn.utils.clip_grad_norm_, 0

    def broken(parameters: list[torch.nn.Parameter], most: float) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 4:  # the last of a turn, and that of a checkpoint
            next(one.grad for one in parameters if one.grad is not None).fill_(float("inf"))
        return clip(parameters, most)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", broken)
    settings = digits(tmp_path / "run", unet, **{"checkpointing_steps": 4, **changes})
    run = train(expect=1, **settings)
    assert "the norm of the last step's gradient is " in run.read_status()["reason"]
    assert not run.round_numbers()
    assert max(run.checkpoints(), default=0) == 0


# What a run refuses


def test_another_config_in_the_same_folder(
    tmp_path: Path, unet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = digits(tmp_path / "run", unet, **SHORT)
    run = train(**settings)
    said = refused(capsys, **{**settings, "num_shards": 3, "learning_rate": 5e-4})
    assert "num_shards: 3, there 2" in said
    assert "learning_rate: 0.0005, there 0.001" in said
    assert "num_rounds" not in said
    # Refusing leaves the finished run finished.
    assert run.model.is_dir()
    assert run.read_status()["state"] == "done"
    train(**settings)


def test_a_folder_with_other_files(
    tmp_path: Path, unet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    said = refused(capsys, **digits(tmp_path / "thesis", unet))
    assert "chapter.txt" in said
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


def test_a_mended_config_starts_where_nothing_was_trained_yet(
    tmp_path: Path, unet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = digits(tmp_path / "run", unet, **SHORT)
    said = refused(capsys, **{**settings, "num_shards": 4000})
    assert "4000 shards, but only" in said
    assert RunDir(settings["output_dir"]).read_status()["state"] == "failed"
    train(**settings)


def test_an_unknown_checkpoint(
    tmp_path: Path, unet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = digits(tmp_path / "run", unet, **SHORT)
    run = train(**settings)
    run.status.unlink()
    for rest in ({}, {"dry_run": True}, {"dataset_name": tmp_path / "is gone"}):
        named = {**settings, "resume_from_checkpoint": "checkpoint-5", **rest}
        said = refused(capsys, **named)
        assert "this run has no 'checkpoint-5'" in said, "before the pictures are looked for"
        assert "checkpoint-3" in said


def test_a_dry_run_of_a_training_that_goes_back(tmp_path: Path, unet: Path) -> None:
    settings = digits(tmp_path / "run", unet, **SHORT)
    run = train(**settings)
    train(**settings, resume_from_checkpoint="checkpoint-3", dry_run=True)
    assert run.checkpoints()[-1] == 6, "nothing was deleted"


def test_a_warm_up_longer_than_the_run_is_told(
    tmp_path: Path, unet: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = digits(tmp_path / "run", unet, **SHORT)
    del settings["max_train_steps"]
    settings |= {"num_train_epochs": 1, "lr_warmup_steps": 500, "lr_scheduler": "cosine"}
    train(**settings)
    assert "warms up over 500 steps" in caplog.text
    train(**{**settings, "output_dir": tmp_path / "dry"}, dry_run=True)
    assert "warms up over 500 steps" in capsys.readouterr().out


def test_a_broken_checkpoint(
    tmp_path: Path, unet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = digits(tmp_path / "run", unet, **SHORT)
    run = train(**settings)
    run.status.unlink()
    (run.checkpoint(6) / "start.safetensors").unlink()
    said = refused(capsys, **settings)
    assert "checkpoint-6 lacks start.safetensors" in said
    manifest = json.loads((run.checkpoint(3) / MANIFEST).read_text())
    (run.checkpoint(3) / MANIFEST).write_text(json.dumps({**manifest, "version": 99}))
    for path in run.checkpoint(6).iterdir():
        path.unlink()
    run.checkpoint(6).rmdir()
    assert "format 99" in refused(capsys, **settings)


def test_another_dataset_on_resume(
    tmp_path: Path, unet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = image_folder(tmp_path / "pictures", 60, captions=False)
    settings = digits(tmp_path / "run", unet, train_data_dir=pictures, **SHORT)
    del settings["dataset_name"], settings["max_train_samples"]
    run = train(**settings)
    run.status.unlink()
    Image.new("RGB", (16, 16), "red").save(pictures / "0000.png")
    assert "is not the one that this run was started with" in refused(capsys, **settings)


def bad(**changes: Any) -> Any:
    return changes


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (bad(num_shards=-1), ["num_shards", "must be at least 1", "-1"]),
        (bad(learning_rate=0), ["learning_rate", "must be more than 0"]),
        (bad(skip_threshold=7), ["skip_threshold", "must be at most 1"]),
        (bad(num_train_epochs="many"), ["num_train_epochs", "must be a whole number"]),
        (bad(resolution=9), ["resolution", "multiples of 2", "9"]),
        (bad(num_shards=100), ["num_shards", "100 shards", "54 pictures"]),
        (bad(train_batch_size=30), ["train_batch_size", "smallest shard has 27"]),
        (bad(num_rounds=20), ["num_rounds", "24 steps"]),
        (bad(image_column="photo"), ["image_column", "'photo'", "image, label"]),
        (bad(label_column="kind"), ["label_column", "'kind'", "image, label"]),
        (bad(report_to="wandb"), ["report_to", "wandb is not installed"]),
        (bad(report_to="paper"), ["report_to", "unknown tracker", "tensorboard"]),
        (bad(mixed_precision="fp16"), ["mixed_precision", "fp16 needs a GPU"]),
        (bad(training="lora"), ["training", "trained in full"]),
        (bad(validation_prompts=["a"]), ["validation_prompts", "not conditioned on text"]),
        (bad(loss_bank_bins=5000), ["loss_bank_bins", "1000 noise levels"]),
        (
            bad(watch_bins=200, ddpm_num_steps=100, watch_fraction=0.4),
            ["watch_bins", "200 bands for 100 noise levels"],
        ),
        (bad(model_config_name_or_path="nowhere.json"), ["cannot read nowhere.json"]),
        (bad(numshards=4), ["numshards", "Did you mean num_shards?"]),
        (bad(hub_token="hf_x"), ["hub_token", "HF_TOKEN"]),
    ],
)
def test_bad_settings(
    tmp_path: Path,
    unet: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    expected: list[str],
) -> None:
    said = refused(capsys, **digits(tmp_path / "run", unet, **changes))
    for words in expected:
        assert words in said
    assert "hf_x" not in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"up_block_types": ["UpBlock2D"]}, "Must provide the same number"),
        ({"up_block_types": ["UpBlock2D", "OurBlock"]}, "OurBlock does not exist"),
        ({"norm_num_groups": 3}, "must be divisible by num_groups"),
        ({"block_out_channels": None}, "no UNet2DModel can be built"),
        ({"down_block_types": 5}, "what no UNet2DModel's config holds"),
        ({"in_channels": "many"}, "what no UNet2DModel's config holds"),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_models_that_cannot_be_built_are_refused_before_pictures_are_read(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    words: str,
    dry: bool,
) -> None:
    wrong = unet_config(tmp_path / "wrong", **changes)
    settings = digits(tmp_path / "run", wrong, dataset_name=tmp_path / "no pictures")
    said = refused(capsys, **settings, **({"dry_run": True} if dry else {}))
    assert "model_config_name_or_path: " in said
    assert words in said
    assert dry or "dataset_name" not in said


def test_a_config_of_a_model_is_an_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.json").write_text("[8, 16]")
    said = refused(capsys, **digits(tmp_path / "run", tmp_path / "list.json"))
    assert "list.json holds no JSON object" in said


def test_models_that_are_refused(
    tmp_path: Path, tiny_sd: Path, captioned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def tell(base: Path | str, **changes: Any) -> str:
        settings = {
            "pretrained_model_name_or_path": base,
            "train_data_dir": captioned,
            "output_dir": tmp_path / "run",
            "num_shards": 2,
            **changes,
        }
        return refused(capsys, **settings)

    base = ddpm_pipeline(tmp_path / "ddpm")
    index = base / "model_index.json"
    original = index.read_text()
    index.write_text(original.replace("DDPMPipeline", "KandinskyPipeline"))
    said = tell(base)
    assert "KandinskyPipeline, which is not supported" in said
    assert "StableDiffusionPipeline" in said
    index.write_text(original.replace('"DDPMPipeline"', '["pipeline.py", "MyPipeline"]'))
    assert "custom code" in tell(base)
    index.write_text(original)
    # Weights only as a pickle, a pickled checkpoint, no weights, no pipeline, no such thing.
    safe = base / "unet/diffusion_pytorch_model.safetensors"
    safe.rename(base / "unet/diffusion_pytorch_model.bin")
    assert "only pickled ones" in tell(base)
    (base / "unet/diffusion_pytorch_model.bin").unlink()
    assert "no safetensors weights" in tell(base)
    (tmp_path / "model.ckpt").write_bytes(b"x")
    assert "pickled checkpoint" in tell(tmp_path / "model.ckpt")
    assert "has no model_index.json" in tell(captioned)
    assert "neither a folder here nor a Hub id" in tell("no/such/folder")
    assert "no weights of the variant 'fp16'" in tell(tiny_sd, variant="fp16")
    assert "multiples of 2" in tell(tiny_sd, resolution=15)
    assert "use_ema" in tell(tiny_sd, training="lora", use_ema=True)
    assert "cannot be kept between rounds" in tell(tiny_sd, shard_optimizer="keep")


def test_a_text_model_needs_captions(
    tmp_path: Path, tiny_sd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {
        "pretrained_model_name_or_path": tiny_sd,
        "output_dir": tmp_path / "run",
        "num_shards": 2,
        "train_batch_size": 4,
    }
    bare = image_folder(tmp_path / "bare", captions=False)
    said = refused(capsys, **settings, train_data_dir=bare)
    assert "the dataset has no captions (columns: image)" in said
    empty = image_folder(tmp_path / "empty", captions=[""] * 24)
    said = refused(capsys, **settings, train_data_dir=empty)
    assert "every caption in 'text' is empty" in said
    some = image_folder(tmp_path / "some", captions=["a", *[""] * 23])
    said = refused(capsys, **settings, train_data_dir=some, caption_column="words")
    assert "caption_column: there is no column 'words'" in said


def test_bad_pictures_are_named_by_row(
    tmp_path: Path, unet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = image_folder(tmp_path / "pictures", 40, captions=False)
    (pictures / "0003.png").write_bytes(b"no picture")
    settings = digits(tmp_path / "run", unet, train_data_dir=pictures, **SHORT)
    del settings["dataset_name"], settings["max_train_samples"]
    said = refused(capsys, **settings)
    assert "1 of 40 pictures cannot be decoded" in said
    assert "row 3" in said
    run = train(**settings, skip_bad_images=True)
    rows = pq.read_table(run.examples)["row"].to_pylist()
    assert len(rows) == 39
    assert 3 not in rows


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ACCELERATE_USE_FSDP", "true", "FSDP"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "DeepSpeed"),
        ("ACCELERATE_MIXED_PRECISION", "fp8", "fp8"),
    ],
)
def test_launches_that_cannot_work(
    tmp_path: Path,
    unet: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    words: str,
) -> None:
    monkeypatch.setenv(variable, value)
    assert words in refused(capsys, **digits(tmp_path / "run", unet))


@pytest.mark.process
def test_errors_come_before_torch_is_imported(tmp_path: Path) -> None:
    unet = unet_config(tmp_path / "unet")
    command = (
        "import sys; from memshield.train import main; code = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    settings = digits(tmp_path / "run", unet, num_shards=-1, resolution=9, numrounds=3)
    child = subprocess.run(
        [sys.executable, "-c", command, *flags(**settings)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 2, child.stderr
    assert "Did you mean num_rounds?" in child.stderr


def test_the_token_is_nowhere(
    tmp_path: Path, unet: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    token = "hf_" + "secretsecret"
    monkeypatch.setenv("HF_TOKEN", token)
    run = train(**digits(tmp_path / "run", unet, **SHORT))
    for path in run.path.rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes()
    said = capfd.readouterr()
    assert token not in said.out + said.err


def test_a_shard_without_a_full_batch(
    tmp_path: Path, unet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = digits(tmp_path / "run", unet, train_batch_size=7, gradient_accumulation_steps=4)
    said = refused(capsys, **settings)
    assert "the smallest shard has 27 pictures, fewer than a step takes (7 x 4)" in said


def test_a_start_that_changes_nothing_leaves_how_far_the_run_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = digits(tmp_path / "run", unet_config(tmp_path))
    names = ("state", "step", "total_steps", "round")
    before = {name: train(**settings).read_status().get(name) for name in names}
    assert before["state"] == "done" and before["step"] == before["total_steps"]
    assert "done" in {train(**settings).read_status()["state"]}
    assert "these settings differ" in refused(capsys, **{**settings, "num_shards": 3})
    status = RunDir(tmp_path / "run").read_status()
    assert {name: status.get(name) for name in names} == before


def test_a_dry_run_names_what_training_would_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = digits(tmp_path / "run", unet_config(tmp_path))
    said = refused(capsys, **settings, training="lora", dry_run=True)
    assert "pixel models are trained in full" in said
    train(**settings)
    said = refused(capsys, **{**settings, "num_shards": 3}, dry_run=True)
    assert "holds another run; these settings differ" in said
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if not os.access(closed, os.W_OK):  # root may write anywhere
        said = refused(capsys, **{**settings, "output_dir": closed / "run"}, dry_run=True)
        assert "cannot be written to" in said
