"""The plan of a config, and the recipes that come with the project."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from memshield.__main__ import main
from memshield.config.file import fields, make_config, read_yaml
from memshield.config.flags import parse_config
from memshield.config.mitigation import is_plain
from memshield.config.schema import MethodSettings
from memshield.families import read_facts, resolve
from memshield.families.size import trainable_parameters
from memshield.training.checkpoint import Checkpoint, Checkpointer
from tests.hub_server import HubServer
from tests.hub_server.in_process import connect, record_waits
from tests.tiny import image_folder, pictures, sd_pipeline, sdxl_pipeline, unet_config
from tests.tiny_flow import (
    flux2_klein_pipeline,
    flux_pipeline,
    krea2_pipeline,
    qwen_image_pipeline,
    sd3_pipeline,
    z_image_pipeline,
)
from tests.trained_runs import ROOT, digits, flags, train

RECIPES = sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))


def plan_of(capsys: pytest.CaptureFixture[str], **settings: Any) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["plan", *flags(**settings), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("every", [5, 1000])
def test_moments_that_are_kept_take_room_in_every_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], every: int
) -> None:
    settings = digits(
        tmp_path / "run", unet_config(tmp_path), num_shards=6, num_rounds=3, max_train_steps=36,
        checkpointing_steps=every, shard_optimizer="keep",
    )  # fmt: skip
    expected = plan_of(capsys, **settings)["disk_bytes"]["checkpoints"]
    run = train(**settings)
    inodes = {p.stat().st_ino: p.stat().st_size
              for p in run.path.glob("checkpoint-*/**/*") if p.is_file()}  # fmt: skip
    used = sum(inodes.values())
    assert used <= expected * 1.1
    assert expected < used * 1.6


def test_the_plan_is_what_the_run_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = digits(tmp_path / "run", unet_config(tmp_path), use_ema=True, checkpointing_steps=5)
    plan = plan_of(capsys, **settings)
    assert not (tmp_path / "run").exists(), "planning writes nothing"
    run = train(**settings)
    assert plan["steps"] == 24
    assert plan["members"] == 54
    assert plan["held_out"] == 6
    assert plan["shard_sizes"] == [27, 27]
    rounds = [e["step"] for e in run.read_events() if e["type"] == "round"]
    assert rounds == [8, 16, 24]
    inodes = {p.stat().st_ino: p.stat().st_size for p in run.path.rglob("*.safetensors")}
    used, expected = sum(inodes.values()), plan["disk_bytes"]["total"]
    assert used <= expected * 1.1, "the estimate is an upper one, small headers aside"
    assert expected < used * 3


def test_the_mean_of_loras_holds_every_proxy_in_a_checkpoint(
    tmp_path: Path, tiny_sd: Path, captioned: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings: dict[str, Any] = {
        "pretrained_model_name_or_path": tiny_sd, "train_data_dir": captioned, "training": "lora",
        "rank": 4, "num_shards": 12, "num_rounds": 1, "max_train_steps": 24, "train_batch_size": 2,
        "checkpointing_steps": 1, "checkpoints_total_limit": 1, "held_out_fraction": 0.0,
        "num_validation_images": 0, "output_dir": tmp_path / "run",
    }  # fmt: skip
    expected = plan_of(capsys, **settings)["disk_bytes"]["checkpoints"]
    taken = []
    save = Checkpointer.save

    def measured(self: Checkpointer, *values: Any) -> Checkpoint:
        saved = save(self, *values)
        inodes = {p.stat().st_ino: p.stat().st_size
                  for p in (tmp_path / "run").glob("checkpoint-*/**/*.safetensors")}  # fmt: skip
        taken.append(sum(inodes.values()))
        return saved

    monkeypatch.setattr(Checkpointer, "save", measured)
    train(**settings)
    assert max(taken) <= expected * 1.2, "headers of tiny files aside"
    assert expected < max(taken) * 3


def test_captions_take_room_also_where_pictures_are_encoded_as_they_come(
    tmp_path: Path, tiny_sd: Path, captioned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live, cached = (
        plan_of(
            capsys, pretrained_model_name_or_path=tiny_sd, train_data_dir=captioned,
            train_batch_size=2, num_shards=2, cache_latents=cache, output_dir=tmp_path / "run",
        )["disk_bytes"]["encodings"]
        for cache in (False, True)
    )  # fmt: skip
    assert 0 < live < cached


def test_captions_that_are_cut_are_told(
    tmp_path: Path, tiny_sd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captions = ["a fox", "a" * 100, *["a cat"] * 38]
    settings: dict[str, Any] = {
        "pretrained_model_name_or_path": tiny_sd,
        "train_data_dir": image_folder(tmp_path / "set", 40, captions=captions),
        "held_out_fraction": 0.0,
        "num_shards": 1,
        "train_batch_size": 2,
        "max_train_steps": 8,
        "num_rounds": 1,
        "output_dir": tmp_path / "run",
    }
    written = tmp_path / "plan.json"
    assert main(["plan", *flags(**settings), "--output", str(written)]) == 0
    cut = json.loads(written.read_text())["cut_captions"]
    assert (cut["count"], cut["of"]) == (1, 40)
    assert cut["longest"] >= 100 > cut["most"]
    assert f"too long      1 of 40 captions are longer than the {cut['most']} tokens" in (
        capsys.readouterr().out
    )


def test_the_plan_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unet = unet_config(tmp_path)
    assert main(["plan", *flags(**digits(tmp_path / "run", unet))]) == 0
    said = capsys.readouterr().out
    for words in ("54 to train on, 6 held out", "2: 27, 27 pictures", "24 in all", "8 a round"):
        assert words in said
    assert re.search(r"memory +about 1\.\d GB at the peak of a step \(estimated\)", said)
    spared = digits(tmp_path / "run", unet, use_adafactor=True, audit_every_rounds=1)
    assert main(["plan", *flags(**spared)]) == 0
    said = capsys.readouterr().out
    assert "at the peak of a step (estimated, with use_adafactor)" in said
    assert said.index("audits ") < said.index("disk ") < said.index("memory ")


def test_a_measured_plan_is_near_what_the_run_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = digits(
        tmp_path / "run", unet_config(tmp_path), max_train_steps=100, checkpointing_steps=1000
    )
    plan = plan_of(capsys, **settings, measure=True)
    assert not (tmp_path / "run").exists()
    measured = plan["measured"]
    assert measured["encode_s"] == 0
    assert measured["peak_bytes"] > 100e6
    run = train(**settings)
    took = sum(e["seconds"] for e in run.read_events() if e["type"] == "round")
    expected = measured["total_s"] - measured["load_s"]
    assert took / 3 < expected < took * 3, "as near as a busy machine allows"


@pytest.mark.parametrize("grid", [0, 4])
def test_audits_are_part_of_a_measured_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], grid: int
) -> None:
    settings = digits(
        tmp_path / "run", unet_config(tmp_path), num_validation_images=grid, audit_every_rounds=2,
        audit_num_images=400,
    )  # fmt: skip
    written = tmp_path / "plan.json"
    assert main(["plan", *flags(**settings), "--measure", "--output", str(written)]) == 0
    found = json.loads(written.read_text())["measured"]
    assert (found["samples_s"] > 0) == (grid > 0)
    # Of three rounds two are audited, the last one among them, and drawn in large batches.
    assert not grid or found["audits_s"] < 2 * 400 / grid * found["samples_s"]
    assert 0 < found["audits_s"] < found["total_s"]
    assert "for the pictures of all audits" in capsys.readouterr().out


@pytest.mark.parametrize("shards", [1, 2])
def test_the_watch_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str], shards: int) -> None:
    """Its pictures, its looks, its teacher in every step and its copy on the disk."""
    plain = digits(tmp_path / "run", unet_config(tmp_path), num_shards=shards)
    watching = {**plain, "max_train_samples": 100, "stop_levels": True, "watch_draws": 8}
    plan = plan_of(capsys, **watching, measure=True)
    assert plan["watched"] == 20
    assert plan["members"] == 70
    assert plan["measured"]["check_s"] > 0
    unwatched = {name: value for name, value in watching.items() if name != "stop_levels"}
    without = plan_of(capsys, **unwatched, watch_fraction=0.2)
    assert without["members"] == 70
    assert plan["disk_bytes"]["checkpoints"] > without["disk_bytes"]["checkpoints"]
    assert main(["plan", *flags(**watching)]) == 0
    assert "20 watched while training" in capsys.readouterr().out


@pytest.mark.parametrize("grid", [0, 4])
def test_a_measured_plan_of_a_cached_model(
    tmp_path: Path, tiny_sd: Path, capsys: pytest.CaptureFixture[str], grid: int
) -> None:
    settings = {
        "pretrained_model_name_or_path": tiny_sd,
        "train_data_dir": image_folder(tmp_path / "pictures", 60, captions=True),
        "train_batch_size": 2,
        "num_rounds": 2,
        "num_inference_steps": 2,
        "num_validation_images": grid,
        "audit_every_rounds": 1,  # whose pictures are drawn once the encoders have gone
        "audit_num_images": 20,
        "output_dir": tmp_path / "run",
    }
    measured = plan_of(capsys, **settings, measure=True)["measured"]
    assert measured["encode_s"] > 0
    assert (measured["samples_s"] > 0) == (grid > 0)
    assert measured["audits_s"] > 0
    parts = ("load_s", "encode_s", "step_s", "audits_s")
    assert measured["total_s"] > sum(measured[name] for name in parts)


def test_the_cost_is_the_hubs_price(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = flags(**digits(tmp_path / "run", unet_config(tmp_path)))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with HubServer() as hub:
        connect(monkeypatch, hub.endpoint)
        words = ("--json", "--measure", "--hardware", "a10g-small")
        assert main(["plan", *settings, *words]) == 0
        found = json.loads(capsys.readouterr().out)
        hours = found["measured"]["total_s"] / 3600
        assert found["cost_usd"] == pytest.approx(hours * 1.0, abs=1e-4)
        assert hub.requests
        assert not any("authorization" in visit.headers for visit in hub.requests)
        assert main(["plan", *settings, "--measure", "--hardware", "a11g"]) == 2
        unknown = capsys.readouterr().err
        assert "no 'a11g'" in unknown and "t4-small" in unknown
        assert main(["plan", *settings, "--hardware", "t4-small"]) == 2
        assert "Add --measure" in capsys.readouterr().err
    assert main(["plan", *settings, "--measure", "--hardware", "a10g-small"]) == 2
    assert "cannot be asked for prices" in capsys.readouterr().err


@pytest.mark.parametrize(
    "settings",
    [
        {"pretrained_model_name_or_path": "some/model", "dataset_name": "sklearn:digits"},
        {
            "model_config_name_or_path": "configs/models/digits-unet.json",
            "dataset_name": "some/pictures",
        },
    ],
)
def test_a_hub_that_does_not_answer(
    settings: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubServer() as hub:
        endpoint = hub.endpoint
    connect(monkeypatch, endpoint)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", endpoint)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    waits = record_waits(monkeypatch)
    assert main(["plan", *flags(**settings)]) == 2
    said = capsys.readouterr().err
    assert "the Hub cannot be reached" in said
    assert "Traceback" not in said
    # The library of datasets asks again for half a minute.
    assert (sum(waits) > 20) == (settings["dataset_name"] == "some/pictures")


def test_trainable_parameters(tmp_path: Path, tiny_sd: Path, captioned: Path) -> None:
    for training in ("full", "lora"):
        values = {
            "pretrained_model_name_or_path": str(tiny_sd),
            "train_data_dir": str(captioned),
            "training": training,
        }
        config = make_config(values)
        facts = read_facts(config)
        config = resolve(config, facts)
        from memshield.families import load
        from memshield.families.base import Placement

        family = load(config, facts, Placement(torch.device("cpu"), torch.float32))
        held = sum(p.numel() for p in family.trainable().values())
        assert trainable_parameters(config, facts) == held


@pytest.mark.process
def test_an_unknown_command() -> None:
    child = subprocess.run(
        [sys.executable, "-m", "memshield", "plann"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 2
    assert "plan" in child.stderr


# Recipes


def test_there_are_recipes() -> None:
    assert {"demo.yaml", "cifar10.yaml", "afhq-dog.yaml", "sd21-laion10k.yaml"} <= set(RECIPES)
    assert {"sd15-lora.yaml", "sdxl-lora.yaml"} <= set(RECIPES)


@pytest.mark.parametrize("name", [name for name in RECIPES if not name.endswith("-plain.yaml")])
def test_a_recipe_and_its_plain_twin_differ_in_the_method_only(name: str) -> None:
    folder = ROOT / "configs"
    mitigated = make_config(read_yaml(folder / name))
    plain = make_config(read_yaml(folder / name.replace(".yaml", "-plain.yaml")))
    assert is_plain(plain.model_dump()) and not is_plain(mitigated.model_dump())
    differ = {n for n in fields() if getattr(mitigated, n) != getattr(plain, n)}
    assert differ <= {*MethodSettings.model_fields, "output_dir"}


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Small data and models under the names that recipes use."""
    root = tmp_path_factory.mktemp("stand-ins")
    rows = {"img": pictures(1600, 32), "label": [i % 10 for i in range(1600)]}
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)}
    )
    cifar = root / "cifar"
    cifar.mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(cifar / "train.parquet")
    return {
        "sd": with_all_levels(sd_pipeline(root / "sd")),
        "sd35": sd3_pipeline(root / "sd35"),
        "flux-dev": flux_pipeline(root / "flux"),
        "flux2": flux2_klein_pipeline(root / "flux2"),
        "z-image": z_image_pipeline(root / "z-image"),
        "qwen": qwen_image_pipeline(root / "qwen"),
        "krea2": krea2_pipeline(root / "krea2"),
        "sdxl": with_all_levels(sdxl_pipeline(root / "sdxl")),
        "cifar": cifar,
        "dogs": image_folder(root / "dogs", 700, 64, captions=False),
        "captioned": image_folder(root / "captioned", 120, 32, width=40),
    }


def with_all_levels(pipeline: Path) -> Path:
    """The same with the thousand noise levels of a real one, which recipes count on."""
    path = pipeline / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_train_timesteps": 1000}))
    return pipeline


def recipe_words(name: str, stand_ins: dict[str, Any]) -> list[str]:
    """How to call a recipe with stand-ins for what is too large here."""
    words = ["--config", str(ROOT / "configs" / name)]
    if "train_data_dir" in read_yaml(ROOT / "configs" / name):
        local = stand_ins["dogs" if "afhq" in name else "captioned"]
        words += ["--train_data_dir", str(local)]
    small = [] if stand_in_of(name) == "sd" and "sd" not in name else ["--resolution", "16"]
    return words + small  # as the stand-in is


def stand_in_of(name: str) -> str:
    """The key of a recipe's model among the stand-ins."""
    keys = ("sdxl", "sd35", "flux-dev", "flux2", "z-image", "qwen", "krea2")
    return next((key for key in keys if key in name), "sd")


def is_repo(id: str) -> bool:
    return id.count("/") == 1


PLAN_ALL = """
import json, sys
from memshield.__main__ import main
sys.exit(max(main(["plan", *words]) for words in json.load(sys.stdin)))
"""


@pytest.fixture(scope="module")
def plans(stand_ins: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The plans of all recipes, by their names: made in one process, which takes long to start."""
    folder = tmp_path_factory.mktemp("plans")
    asked = [
        [*recipe_words(name, stand_ins), "--output", str(folder / f"{name}.json")]
        for name in RECIPES
    ]
    models, sets = {}, {}
    for name in RECIPES:
        values = read_yaml(ROOT / "configs" / name)
        model = values.get("pretrained_model_name_or_path", "")
        models[model] = stand_ins[stand_in_of(name)]
        dataset = values.get("dataset_name", "")
        sets[dataset] = stand_ins["cifar" if "cifar" in name else "captioned"]
    with HubServer() as hub:
        for id in (id for id in models if is_repo(id)):
            hub.add_repo("model", id, models[id])
        for id in (id for id in sets if is_repo(id)):
            hub.add_repo("dataset", id, sets[id])
        child = subprocess.run(
            [sys.executable, "-c", PLAN_ALL],
            cwd=ROOT,
            env={**hub.environ(folder, None), "OMP_NUM_THREADS": "1"},
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=False,
        )
    assert child.returncode == 0, child.stderr
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in RECIPES}


@pytest.mark.process
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_plans(name: str, plans: dict[str, Any], stand_ins: dict[str, Any]) -> None:
    plan, words = plans[name], recipe_words(name, stand_ins)
    config = parse_config("plan", words, "")
    assert plan["steps"] > 0
    assert len(plan["shard_sizes"]) == config.num_shards
    assert len(plan["steps_by_round_and_shard"]) == config.num_rounds
