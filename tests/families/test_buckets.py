"""Training in aspect buckets: against plain loops, from caches, over several shards, resumed."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import generate_aspect_ratio_buckets

from memshield.__main__ import main
from memshield.audit.report import Report
from memshield.config.buckets import parse_sizes
from memshield.config.file import make_config, read_yaml
from memshield.data.examples import Examples
from memshield.errors import UserError
from memshield.families import read_facts, resolve
from memshield.families.base import Draw, Encoded, Pictures
from memshield.families.buckets import settle_sizes
from memshield.families.size import encoded_bytes
from memshield.forecast.dry_run import dry_run
from memshield.forecast.measure import _more_batches
from memshield.randomness import Purpose, torch_seed
from memshield.rundir import RunDir
from memshield.training.progress import Listener
from memshield.training.watch import fixed_draws
from tests.bench.setting import set_up
from tests.bucket_twin import BUCKETS, SHAPES, cut, shaped, shaped_folder, walk
from tests.families import loaded, looked_up
from tests.families.flow_scripts import SCRIPTS
from tests.tiny import unet_config
from tests.trained_runs import finish_ranks, flags, go_back, refused, train, weights

NEEDED: dict[str, Any] = {"resolution": 16, "aspect_ratio_buckets": BUCKETS}
METHOD: dict[str, Any] = {
    **NEEDED,
    "num_shards": 2,
    "num_rounds": 2,
    "max_train_steps": 8,
    "checkpointing_steps": 1,
    "train_batch_size": 2,
    "learning_rate": 1e-2,
    "random_flip": True,
    "watch_fraction": 0.2,
    "watch_draws": 8,
    "watch_bins": 2,
    "stop_levels": True,
    "num_validation_images": 1,
    "num_inference_steps": 2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shaped_folder(tmp_path_factory.mktemp("set"), SHAPES * 4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, folder: Path, tiny_sdxl: Path) -> RunDir:
    """A LoRA in buckets: two shards, two rounds, levels watched, encodings cached."""
    return train(
        pretrained_model_name_or_path=tiny_sdxl,
        train_data_dir=folder,
        output_dir=tmp_path_factory.mktemp("lora") / "run",
        center_crop=True,
        **METHOD,
    )


# Against plain loops


@pytest.mark.parametrize("kind", list(SCRIPTS))
def test_every_shape_is_trained_as_by_the_usual_script(
    request: pytest.FixtureRequest, captioned: Path, kind: str
) -> None:
    """Packing, image ids and embeddings of positions follow the size of the batch."""
    base = request.getfixturevalue(kind)
    pipeline = DiffusionPipeline.from_pretrained(base)
    family = loaded(base, captioned, training="full", **NEEDED)
    family.network.train()
    pipeline.transformer.train()
    captions = ["a red fox", "2 owls in a tree"]
    for step, size in enumerate(parse_sizes(BUCKETS)):
        pixels = torch.from_numpy(np.stack([cut(p)[0] for p in shaped([size] * 2)]))
        pixels = pixels.permute(0, 3, 1, 2)
        assert pixels.shape[2:] == size
        pictures = Pictures(pixels, torch.tensor([size] * 2), torch.zeros(2, 2))
        encoded = family.encode_pictures(pictures) | family.encode_captions(captions)
        draw = family.draw(encoded, torch.Generator().manual_seed(step))
        found = family.loss(family.predict(encoded, draw), draw)
        generator = torch.Generator().manual_seed(step)
        expected = SCRIPTS[kind](pipeline, pixels / 127.5 - 1, captions, generator)
        torch.testing.assert_close(found.value * found.weight, expected, rtol=1e-6, atol=1e-6)


def test_a_plain_run_is_a_plain_loop_over_the_buckets(
    tmp_path: Path, tiny_sdxl: Path, folder: Path
) -> None:
    """SDXL, which is told of the size of a picture, of its crop, and of what it is cut to."""
    settings: dict[str, Any] = {
        **NEEDED,
        "training": "full", "center_crop": True, "train_batch_size": 3, "learning_rate": 1e-3,
        "adam_epsilon": 1e-4, "held_out_fraction": 0.0,
    }  # fmt: skip
    run = train(
        **settings, pretrained_model_name_or_path=tiny_sdxl, train_data_dir=folder,
        output_dir=tmp_path / "run", num_shards=1, num_rounds=1, skip_threshold=0,
        max_train_steps=6, num_validation_images=0,
    )  # fmt: skip
    family = loaded(tiny_sdxl, folder, **settings)
    unet: Any = family.network
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3, weight_decay=1e-2, eps=1e-4)
    stored = shaped(SHAPES * 4)
    places = [[i for i, p in enumerate(stored) if cut(p)[0].shape[:2] == size]
              for size in parse_sizes(BUCKETS)]  # fmt: skip
    assert [len(part) for part in places] == [56, 32, 32]
    rows = Examples.read(run.examples).row.tolist()
    assert rows == list(range(len(stored)))
    unet.train()
    seen = set()
    for step, index in enumerate(itertools.islice(walk([*map(np.asarray, places)], 3, 0, 0), 6)):
        parts, corners = zip(*(cut(stored[i]) for i in index), strict=True)
        pixels = torch.from_numpy(np.stack(parts).transpose(0, 3, 1, 2).copy())
        seen.add(tuple(pixels.shape[2:]))
        moments = family.encode_pictures(Pictures(pixels, torch.zeros(3, 2), torch.zeros(3, 2)))
        text = family.encode_captions([f"picture {i}" for i in index])
        generator = torch.Generator().manual_seed(torch_seed(0, Purpose.NOISE, 0, step))
        draw = family.draw(moments, generator)
        noisy = family.scheduler.add_noise(draw.clean, draw.noise, draw.level)
        ids = [
            (*stored[i].shape[:2], *corner, *pixels.shape[2:])
            for i, corner in zip(index, corners, strict=True)
        ]
        added = {"text_embeds": text["pooled"], "time_ids": torch.tensor(ids, dtype=torch.float)}
        predicted = unet(
            noisy, draw.level, encoder_hidden_states=text["text"], added_cond_kwargs=added
        ).sample
        F.mse_loss(predicted, draw.noise).backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert len(seen) == 3
    found = weights(run)
    for name, tensor in unet.state_dict().items():
        mine = found[f"unet/diffusion_pytorch_model.safetensors:{name}"]
        assert torch.allclose(mine, tensor, rtol=1e-4, atol=2e-6), name


# Whole runs


def test_a_run_takes_the_steps_of_one_without_buckets(run: RunDir) -> None:
    assert run.read_status()["state"] == "done"
    steps = [event for event in run.read_events() if event["type"] == "step"]
    assert max(event["step"] for event in steps) == 8
    assert sum(pq.read_table(run.skips)["draws"].to_pylist()) == 8 * 2
    (data,) = [event for event in run.read_events() if event["type"] == "data"]
    assert any(name == "buckets" for name, _ in data["facts"])
    watched = json.loads(run.watch.read_text())
    assert len(watched["checks"]) == 3


@pytest.mark.parametrize("cached", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_going_back_to_a_checkpoint_ends_with_the_same_bits(
    run: RunDir, folder: Path, tiny_sdxl: Path, tmp_path: Path, cached: bool
) -> None:
    settings: dict[str, Any] = {
        **METHOD, "pretrained_model_name_or_path": tiny_sdxl, "train_data_dir": folder,
        "center_crop": cached,
    }  # fmt: skip
    whole = run if cached else train(**settings, output_dir=tmp_path / "whole")
    copy = RunDir(shutil.copytree(whole.path, tmp_path / "copy"))
    middle = sorted(whole.checkpoints())[1]
    assert middle % 4, "inside a round"
    before = weights(whole)
    go_back(middle, settings | {"output_dir": copy.path})
    again = weights(copy)
    assert before.keys() == again.keys()
    assert all(torch.equal(tensor, again[name]) for name, tensor in before.items())
    folders = {path.name for path in copy.path.glob("checkpoint-*")}
    assert f"checkpoint-{middle + 1}" in folders


@pytest.mark.process
@pytest.mark.slow
def test_two_processes_train_the_same(
    run: RunDir, folder: Path, tiny_sdxl: Path, tmp_path: Path
) -> None:
    together, _ = finish_ranks(
        {
            **METHOD, "pretrained_model_name_or_path": tiny_sdxl, "train_data_dir": folder,
            "center_crop": True, "output_dir": tmp_path / "run",
        }
    )  # fmt: skip
    one, other = weights(run), weights(together)
    for name, tensor in one.items():
        assert torch.allclose(tensor, other[name], rtol=1e-3, atol=1e-4), name


def test_the_held_out_loss_is_that_of_pictures_in_their_own_sizes(
    run: RunDir, folder: Path, tiny_sdxl: Path
) -> None:
    """Noise is drawn for those of a size in every two draws, whatever they are predicted with."""
    settings = {name: value for name, value in METHOD.items() if name != "random_flip"}
    family = loaded(tiny_sdxl, folder, **settings, center_crop=True)
    stored, examples = shaped(SHAPES * 4), Examples.read(run.examples)
    watched = torch.from_numpy(examples.watched())
    pictures, slots = fixed_draws(watched, family.num_slots, 2, 8, 0)
    losses, mixed = torch.zeros(16, dtype=torch.float64), 0
    for start in range(0, 16, 2):
        sizes = [cut(stored[i])[0].shape for i in pictures[start : start + 2].tolist()]
        groups = [[start, start + 1]] if sizes[0] == sizes[1] else [[start], [start + 1]]
        mixed += len(groups) - 1
        for places in groups:
            index = pictures[places].tolist()
            parts, corners = zip(*(cut(stored[i]) for i in index), strict=True)
            pixels = torch.from_numpy(np.stack(parts).transpose(0, 3, 1, 2).copy())
            original = torch.tensor([stored[i].shape[:2] for i in index])
            shown = Pictures(pixels, original, torch.tensor(corners))
            captions = family.encode_captions([f"picture {i}" for i in index])
            seed = torch_seed(0, Purpose.WATCH, places[0])
            generator = torch.Generator().manual_seed(seed)
            encoded = family.encode_pictures(shown) | captions
            draw = family.draw(encoded, generator, slots[places])
            with family.running():
                losses[places] = family.loss(family.predict(encoded, draw), draw).value.double()
    assert mixed >= 3
    first = json.loads(run.watch.read_text())["checks"][0]["losses"]
    assert first == pytest.approx(losses.view(2, 8).mean(dim=1).tolist(), rel=1e-5)


def test_a_check_takes_full_batches_and_the_measurement_counts_them(
    tmp_path: Path, folder: Path, tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**METHOD, "watch_draws": 9, "train_batch_size": 3, "num_shards": 1}
    setting = set_up(
        tmp_path / "run", "cpu", pretrained_model_name_or_path=tiny_sdxl, train_data_dir=folder,
        **settings, center_crop=True,
    )  # fmt: skip
    watch, family = setting.trainer(Listener()).watch, setting.setup.family
    assert watch is not None
    predict, seen = family.predict, []

    def counted(encoded: Encoded, draw: Draw) -> torch.Tensor:
        seen.append((tuple(draw.noise.shape[2:]), len(draw.noise)))
        return predict(encoded, draw)

    monkeypatch.setattr(family, "predict", counted)
    watch.check(0, together=False)
    assert sum(count for _, count in seen) == 2 * 9
    partly = [size for size, count in seen if count < 3]
    assert len(set(partly)) == len(partly)
    assert len({size for size, _ in seen}) == 3
    # In one size they would be six batches.
    assert _more_batches(watch, setting.prepared) == len(seen) / 6 > 1


def test_pictures_that_lose_much_in_squares_are_told(
    folder: Path, tiny_sdxl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {
        "pretrained_model_name_or_path": tiny_sdxl, "train_data_dir": folder, "resolution": 16,
        "center_crop": True, "max_train_steps": 40, "train_batch_size": 2, "output_dir": "unused",
    }  # fmt: skip
    advice = (
        "advice        Half of the pictures lose 55% of their area or more when they are cut to "
        "squares: let them keep their shapes in aspect buckets. (aspect_ratio_buckets: auto)"
    )
    assert main(["plan", *flags(**settings)]) == 0
    assert advice in capsys.readouterr().out.splitlines()
    assert advice in list(dry_run(make_config({k: str(v) for k, v in settings.items()})))


def test_the_plan_tells_how_many_pictures_are_in_each_bucket(
    folder: Path, tiny_sdxl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {
        **METHOD, "pretrained_model_name_or_path": tiny_sdxl, "train_data_dir": folder,
        "output_dir": "unused", "center_crop": True,
    }  # fmt: skip
    assert main(["plan", *flags(**settings), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    counts = plan["aspect_ratio_buckets"]
    assert list(counts) == BUCKETS.split(";")
    assert sum(counts.values()) == plan["members"]
    assert main(["plan", *flags(**settings)]) == 0
    said = capsys.readouterr().out
    assert f"24,12: {counts['24,12']};" in said
    assert "in the largest bucket" in said
    assert "squares" not in said
    sizes = []
    for buckets in ("8,32;16,16", BUCKETS, "8,64;16,16"):
        changed = {"resolution": 16, "aspect_ratio_buckets": buckets}
        sizes.append(encoded_bytes(*looked_up(tiny_sdxl, folder, **changed))[0])
    # Two moments of four channels, four pixels a latent, and six numbers of size and crop.
    assert sizes == [(8 * pixels // 4 + 6) * 4 for pixels in (256, 288, 512)]


@pytest.mark.slow
@pytest.mark.parametrize("cached", [True, False])
def test_steps_are_measured_in_the_largest_bucket(
    folder: Path, tiny_sdxl: Path, capsys: pytest.CaptureFixture[str], cached: bool
) -> None:
    seen: set[tuple[int, int]] = set()

    def note(module: torch.nn.Module, args: Any) -> None:
        if isinstance(module, UNet2DConditionModel) and module.training:
            seen.add(tuple(args[0].shape[2:]))

    hook = torch.nn.modules.module.register_module_forward_pre_hook(note)
    settings: dict[str, Any] = {
        **METHOD, "pretrained_model_name_or_path": tiny_sdxl, "train_data_dir": folder,
        "output_dir": "unused", "center_crop": cached,
    }  # fmt: skip
    try:
        assert main(["plan", *flags(**settings), "--json", "--measure"]) == 0
    finally:
        hook.remove()
    assert seen == {(12, 6)}  # latents of 24,12, which has more pixels than 16,16


def test_an_audit_compares_at_a_common_size_and_says_so(run: RunDir) -> None:
    words = ["audit", str(run.path), "--num_images", "20", "--num_inference_steps", "1"]
    words.append("--no_attacks")
    assert main(words) == 0
    report = Report.read(run.audit_of(None) / "report.json")
    assert report.data.resolution == 16
    assert report.data.buckets == parse_sizes(BUCKETS)
    assert any("compared at a common one: squares of 16 px" in limit for limit in report.limits)
    assert np.load(run.audit_of(None) / "images.npy", mmap_mode="r").shape == (20, 3, 16, 16)


# auto, and what is refused


def test_auto_is_what_diffusers_generates(tiny_sdxl: Path, captioned: Path) -> None:
    config, facts = looked_up(tiny_sdxl, captioned, resolution=512, aspect_ratio_buckets=" auto ")
    assert config.aspect_ratio_buckets == "auto"
    settled = settle_sizes(config, facts)
    sizes = generate_aspect_ratio_buckets(512, divisibility=16)
    assert len(sizes) == 11
    assert settled.aspect_ratio_buckets == ";".join(f"{h},{w}" for h, w in sizes)
    assert settle_sizes(settled, facts) == settled


def test_a_run_keeps_the_sizes_that_auto_meant(
    tmp_path: Path, tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shaped_folder(tmp_path / "set", [(64, 64)] * 8 + [(96, 48)] * 8)
    settings: dict[str, Any] = {
        "pretrained_model_name_or_path": tiny_sdxl, "train_data_dir": folder,
        "output_dir": tmp_path / "run", "resolution": 64, "aspect_ratio_buckets": "auto",
        "num_shards": 1, "num_rounds": 1, "train_batch_size": 2, "max_train_steps": 2,
        "num_validation_images": 0, "checkpointing_steps": 1, "held_out_fraction": 0.0,
    }  # fmt: skip
    run = train(**settings)
    kept = read_yaml(run.config)["aspect_ratio_buckets"]
    assert kept.startswith("64,64;")
    monkeypatch.setattr("diffusers.training_utils._DEFAULT_BUCKET_ASPECT_RATIOS", [(1, 1)])
    train(**settings)
    go_back(1, settings)
    assert read_yaml(run.config)["aspect_ratio_buckets"] == kept


@pytest.mark.parametrize(
    ("model", "settings", "problem", "remedy"),
    [
        (
            "tiny_sdxl",
            {"aspect_ratio_buckets": "16,16;25,12;9,30"},
            "this model takes multiples of 2 pixels, and 25,12;9,30 are none",
            "The nearest: 24,12;8,30.",
        ),
        (
            "tiny_sd3",
            {"aspect_ratio_buckets": "16,16;8,64"},
            "this model knows positions up to 32 pixels, and 8,64 is longer",
            "Leave it out, or lower its sides.",
        ),
    ],
)
def test_sizes_that_a_model_cannot_take(
    request: pytest.FixtureRequest, captioned: Path, model: str, settings: dict[str, Any],
    problem: str, remedy: str,
) -> None:  # fmt: skip
    with pytest.raises(UserError) as caught:
        looked_up(request.getfixturevalue(model), captioned, **settings)
    assert (caught.value.field, caught.value.problem) == ("aspect_ratio_buckets", problem)
    assert caught.value.remedy == remedy


def test_pixel_models_have_one_size(tmp_path: Path, captioned: Path) -> None:
    unet = unet_config(tmp_path, channels=3)
    config = make_config(
        {"model_config_name_or_path": str(unet), "train_data_dir": str(captioned), **NEEDED}
    )
    with pytest.raises(UserError, match="this model makes pictures of one size"):
        resolve(config, read_facts(config))


def test_random_crops_cannot_be_cached(
    folder: Path, tiny_sdxl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(
        capsys, **METHOD, pretrained_model_name_or_path=tiny_sdxl, train_data_dir=folder,
        output_dir=tmp_path / "run", cache_latents=True,
    )  # fmt: skip
    assert "pictures are not of the shapes of their buckets" in said
