"""A Hub to publish to, the real client in this process, and small runs to publish."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from filelock import FileLock

from memshield.rundir import RunDir
from tests.audit.runs import QUICK, command, small_run
from tests.hub_server import HubServer
from tests.hub_server.in_process import connect
from tests.tiny import image_folder, sd_pipeline
from tests.trained_runs import ROOT, flags

TOKEN = "hf_" + "adasownsecrettokenofthirtyfour"
BOBS = "hf_" + "bobsownsecrettokenofthirtyfour"
CARD = "---\nlicense: {license}\nlibrary_name: diffusers\n---\n# Tiny\n"


class FakeClock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion pipeline with a card, as it lies on the Hub."""
    folder = sd_pipeline(tmp_path_factory.mktemp("base") / "sd")
    (folder / "README.md").write_text(CARD.format(license="creativeml-openrail-m"))
    return folder


@pytest.fixture(scope="session")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 captioned pictures, as a dataset on the Hub."""
    texts = [f"a very secret caption number {i}" for i in range(200)]
    return image_folder(tmp_path_factory.mktemp("pictures") / "set", 200, captions=texts)


def fill(server: HubServer, base: Path, pictures: Path) -> None:
    """Users, bases under several licenses, and datasets, public and private."""
    server.add_user("ada", TOKEN, orgs=["lab"])
    server.add_user("bob", BOBS)
    server.add_token("ada", "hf_" + "readonlyreadonlyreadonlyreadonly", role="read")
    server.add_repo("model", "lab/tiny-sd", base)
    server.add_repo("dataset", "ada/pictures", pictures)


@pytest.fixture
def hub(tiny_base: Path, captions: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub, and this process signed in to it as ada."""
    with HubServer() as server:
        fill(server, tiny_base, captions)
        connect(monkeypatch, server.endpoint)
        # A client of diffusers' own keeps the endpoint of its import.
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", server.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server
    huggingface_hub.close_session()


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first process of tests to need it makes for all of them."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"once-{name}"
    done = folder.with_suffix(".done")
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            # In its place: a run knows its model's config by its path.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def trained_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pixel model trained from scratch, audited; its last round is the model."""

    def make(folder: Path) -> None:
        command("audit", small_run(folder).path, *QUICK)

    return made_once(tmp_path_factory, "digits", make) / "run"


@pytest.fixture(scope="session")
def trained_lora(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, captions: Path) -> Path:
    """A LoRA on a base of the Hub, with pictures of the Hub, not audited."""

    def make(folder: Path) -> None:
        with HubServer() as server:
            fill(server, tiny_base, captions)
            said = train_in_child(server, folder, **lora_settings(folder / "run"))
        assert TOKEN not in said

    return made_once(tmp_path_factory, "lora", make) / "run"


def train_in_child(
    server: HubServer, folder: Path, expect: int = 0, words: Sequence[str] = (), **settings: Any
) -> str:
    """Train in a process of its own, signed in as ada; what it printed."""
    env = server.environ(folder / "home", TOKEN)
    env |= {"OMP_NUM_THREADS": "1", "MEMSHIELD_CACHE": str(folder / "cache")}
    child = subprocess.run(
        [sys.executable, "-m", "memshield.train", *flags(**settings), *words],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = child.stdout + child.stderr
    assert child.returncode == expect, said
    return said


def lora_settings(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "pretrained_model_name_or_path": "lab/tiny-sd",
        "dataset_name": "ada/pictures",
        "max_train_samples": 160,
        "held_out_fraction": 0.4,
        "num_shards": 2,
        "num_rounds": 2,
        "max_train_steps": 8,
        "train_batch_size": 4,
        "num_validation_images": 0,
        "output_dir": folder,
        **changes,
    }


@pytest.fixture
def digits_run(trained_digits: Path, tmp_path: Path) -> RunDir:
    """A run of its own to publish."""
    return RunDir(shutil.copytree(trained_digits, tmp_path / "run"))


@pytest.fixture
def lora_run(trained_lora: Path, tmp_path: Path) -> RunDir:
    """A run of its own to publish."""
    return RunDir(shutil.copytree(trained_lora, tmp_path / "lora"))
