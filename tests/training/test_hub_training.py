"""Training from Hub ids, through the unmodified clients, against a loopback Hub."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from memshield.config.file import make_config, read_yaml
from memshield.rundir import RunDir
from tests.hub_server import HubServer
from tests.tiny import ddpm_pipeline, image_folder, pictures, sd_pipeline, unet_config
from tests.trained_runs import ROOT, flags

pytestmark = pytest.mark.process

TOKEN = "hf_" + "adas"
SETTINGS: dict[str, Any] = {
    "num_shards": 2,
    "num_rounds": 2,
    "max_train_steps": 8,
    "train_batch_size": 4,
    "num_validation_images": 1,
    "num_inference_steps": 2,
}


def parquet_folder(folder: Path) -> Path:
    rows = {"image": pictures(24), "text": [f"picture number {i}" for i in range(24)]}
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    folder.mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(
        folder / "train-00000-of-00001.parquet"
    )
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    root = tmp_path_factory.mktemp("hub")
    with HubServer() as server:
        server.add_user("ada", TOKEN)
        sd = sd_pipeline(root / "sd")
        server.add_repo("model", "ada/tiny-sd", sd)
        server.add_repo("model", "ada/private-sd", sd, private=True)
        server.add_repo("model", "lab/gated-sd", sd, gated=True)
        server.add_repo("model", "ada/tiny-ddpm", ddpm_pipeline(root / "ddpm", channels=3))
        server.add_repo("model", "ada/unet", unet_config(root / "unet", channels=3).parent)
        bare = sd_pipeline(root / "bare")
        weights = bare / "unet/diffusion_pytorch_model.safetensors"
        weights.rename(weights.with_suffix(".bin"))
        server.add_repo("model", "ada/pickled-sd", bare)
        server.add_repo("dataset", "ada/folder", image_folder(root / "folder"))
        server.add_repo("dataset", "ada/private-folder", root / "folder", private=True)
        server.add_repo("dataset", "ada/parquet", parquet_folder(root / "parquet"))
        yield server


def environment_of(hub: HubServer, folder: Path, token: str | None) -> dict[str, str]:
    own = {"OMP_NUM_THREADS": "1", "MEMSHIELD_CACHE": str(folder / "cache")}
    return hub.environ(folder / "home", token) | own


def run_child(hub: HubServer, folder: Path, token: str | None = None, **settings: Any) -> RunDir:
    words = flags(**{**SETTINGS, "output_dir": folder / "run", **settings})
    child = subprocess.run(
        [sys.executable, "-m", "memshield.train", *words],
        cwd=ROOT,
        env=environment_of(hub, folder, token),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert TOKEN not in child.stderr + child.stdout
    return RunDir(folder / "run")


def test_a_public_pipeline_and_imagefolder(hub: HubServer, tmp_path: Path) -> None:
    names: dict[str, Any] = {
        "pretrained_model_name_or_path": "ada/tiny-sd",
        "dataset_name": "ada/folder",
    }
    run = run_child(hub, tmp_path, **names)
    assert (run.model / "pytorch_lora_weights.safetensors").is_file()
    config = make_config(read_yaml(run.config))
    # What was read is pinned, so that the same run means the same bytes tomorrow.
    assert config.revision is not None
    assert len(config.revision) == 40
    assert config.dataset_revision is not None
    assert len(config.dataset_revision) == 40
    requested = {request.path for request in hub.requests if request.origin == "content"}
    assert requested, "weights come from the other origin"


def test_private_ones_with_the_token(hub: HubServer, tmp_path: Path) -> None:
    names: dict[str, Any] = {
        "pretrained_model_name_or_path": "ada/private-sd",
        "dataset_name": "ada/private-folder",
    }
    run = run_child(hub, tmp_path, TOKEN, **names)
    assert run.read_status()["state"] == "done"
    for path in run.path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()
    for request in hub.requests:
        assert request.origin == "hub" or "authorization" not in request.headers


def test_a_pixel_pipeline_and_parquet(hub: HubServer, tmp_path: Path) -> None:
    names: dict[str, Any] = {
        "pretrained_model_name_or_path": "ada/tiny-ddpm",
        "dataset_name": "ada/parquet",
    }
    run = run_child(hub, tmp_path, **names)
    assert (run.model / "unet/diffusion_pytorch_model.safetensors").is_file()


@pytest.mark.slow
def test_a_model_config_from_the_hub(hub: HubServer, tmp_path: Path) -> None:
    names: dict[str, Any] = {"model_config_name_or_path": "ada/unet", "dataset_name": "ada/parquet"}
    run = run_child(hub, tmp_path, **names)
    assert (run.model / "model_index.json").is_file()


REFUSED: list[tuple[dict[str, str], list[str]]] = [
    ({"pretrained_model_name_or_path": "ada/nothing"}, ["ada/nothing is not on the Hub"]),
    ({"pretrained_model_name_or_path": "lab/gated-sd"}, ["lab/gated-sd is gated"]),
    (
        {"pretrained_model_name_or_path": "ada/private-sd"},
        ["pretrained_model_name_or_path: ada/private-sd", "HF_TOKEN"],
    ),
    ({"revision": "v9"}, ["no revision 'v9'"]),
    ({"pretrained_model_name_or_path": "ada/pickled-sd"}, ["only pickled ones"]),
    ({"dataset_name": "ada/nothing"}, ["dataset_name"]),
    ({"dataset_name": "ada/private-folder"}, ["dataset_name", "HF_TOKEN"]),
    ({"dataset_split": "test"}, ["test"]),
    ({"image_column": "photo"}, ["image, text"]),
    ({"caption_column": "words"}, ["image, text"]),
]
TRAIN_ALL = """
import contextlib, io, json, logging, sys
from memshield.train import main
answers = []
for words in json.load(sys.stdin):
    logging.root.handlers.clear()
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = main(words)
    answers.append((code, said.getvalue()))
print(json.dumps(answers))
"""


@pytest.mark.slow
def test_what_is_refused_before_weights_are_fetched(hub: HubServer, tmp_path: Path) -> None:
    """One process for all, which takes long to start."""
    names = {"pretrained_model_name_or_path": "ada/tiny-sd", "dataset_name": "ada/folder"}
    words = [
        flags(**{**SETTINGS, "output_dir": tmp_path / str(number), **names, **changes})
        for number, (changes, _) in enumerate(REFUSED)
    ]
    before = len(hub.requests)
    child = subprocess.run(
        [sys.executable, "-c", TRAIN_ALL],
        cwd=ROOT,
        env=environment_of(hub, tmp_path, None),
        input=json.dumps(words),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    answers = json.loads(child.stdout.splitlines()[-1])
    for (changes, expected), (code, said) in zip(REFUSED, answers, strict=True):
        assert code == 2, changes
        assert "Traceback" not in said
        for phrase in expected:
            assert phrase in said, changes
    fetched = [request.path for request in hub.requests[before:]]
    assert fetched
    assert not [path for path in fetched if "safetensors" in path and "resolve" in path]
