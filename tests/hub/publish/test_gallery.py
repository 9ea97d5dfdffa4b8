"""The pictures of a card, and the prompts that may stand with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi

from memshield.hub.verify import in_folder, verify
from memshield.rundir import RunDir
from tests.audit.runs import QUICK
from tests.hub.conftest import TOKEN
from tests.hub.publishing import publish, require_complete
from tests.hub_server import HubServer
from tests.trained_runs import ROOT

PROMPTS = ["a lamp on a table", "a *bold* cat\nbeside a dog"]


def audit(hub: HubServer, run: RunDir, home: Path, *flags: str) -> None:
    """Audit in a process of its own, whose datasets library knows this Hub."""
    child = subprocess.run(
        [sys.executable, "-m", "memshield", "audit", str(run.path), *QUICK, "--no_attacks", *flags],
        cwd=ROOT,
        env=hub.environ(home, TOKEN) | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert child.returncode == 0, child.stderr


def set_prompts(run: RunDir, prompts: list[str]) -> None:
    values: dict[str, Any] = yaml.safe_load(run.config.read_text())
    run.config.write_text(yaml.safe_dump({**values, "validation_prompts": prompts}))


@pytest.mark.slow
@pytest.mark.process
def test_a_loras_pictures_stand_with_its_owners_prompts(
    hub: HubServer, lora_run: RunDir, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"hub_model_id": "ada/lora", "hub_license": None}
    audit(hub, lora_run, tmp_path / "home")
    publish(lora_run, **settings)
    info = HfApi(token=TOKEN).model_info("ada/lora")
    assert info.card_data is not None
    assert len(info.card_data["widget"]) == 8
    assert {entry["text"] for entry in info.card_data["widget"]} == {"-"}
    files = hub.repo_files("model", "ada/lora")
    assert b'"prompts": {' not in files["memshield.json"]
    assert not [name for name, data in files.items() if b"secret caption" in data]
    # The same run, audited with the prompts that its owner wrote.
    set_prompts(lora_run, PROMPTS)
    audit(hub, lora_run, tmp_path / "home", "--prompts", "validation")
    require_complete(hub, publish(lora_run, **settings))
    info = HfApi(token=TOKEN).model_info("ada/lora")
    assert info.card_data is not None
    texts = [entry["text"] for entry in info.card_data["widget"]]
    assert set(texts) == {"a lamp on a table", "a *bold* cat beside a dog"}
    card = hub.repo_files("model", "ada/lora")["README.md"].decode()
    assert r"a \*bold\* cat beside a dog" in card
    # Whose prompts were changed since: nobody knows which of them made which picture.
    set_prompts(lora_run, ["a lamp on a table", "a caption that made no picture"])
    publish(lora_run, **settings)
    card = hub.repo_files("model", "ada/lora")["README.md"].decode()
    assert "samples/0.png" in card
    assert "a lamp" not in card and "a caption" not in card


@pytest.mark.process
def test_the_license_of_the_dataset_stands_on_the_card(
    hub: HubServer, lora_run: RunDir, tmp_path: Path
) -> None:
    HfApi(token=TOKEN).upload_file(
        path_or_fileobj=b"---\nlicense: cc-by-4.0\n---\n", path_in_repo="README.md",
        repo_id="ada/pictures", repo_type="dataset",
    )  # fmt: skip
    text = lora_run.config.read_text().replace(
        "dataset_revision: ", f"dataset_revision: {hub.head('dataset', 'ada/pictures')} #"
    )
    lora_run.config.write_text(text)
    publish(lora_run, hub_model_id="ada/lora", hub_license=None)
    card = hub.repo_files("model", "ada/lora")["README.md"].decode()
    assert "(https://huggingface.co/datasets/ada/pictures) (license: cc-by-4.0)" in card
    for name, data in hub.repo_files("model", "ada/lora").items():
        path = tmp_path / "copy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    checks = verify(in_folder(tmp_path / "copy"))
    assert not [problem for check in checks for problem in check.problems if "card" in problem]
