"""A VAE that replaces the base's own, and a base that comes with a safety checker."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file

from memshield.errors import UserError
from memshield.hub.manifest import NAME, Manifest
from memshield.hub.pull import pull
from memshield.hub.verify import in_folder, verify
from memshield.rundir import RunDir
from tests.hub.conftest import CARD, TOKEN, lora_settings, train_in_child
from tests.hub.publishing import publish
from tests.hub_server import HubServer
from tests.tiny import sd_pipeline, small_vae

SETTINGS: dict[str, Any] = {"hub_model_id": "ada/lora", "hub_license": None}


@pytest.fixture
def vae(hub: HubServer, tmp_path: Path) -> Path:
    """A VAE of its own repository, lab/vae."""
    folder = tmp_path / "vae"
    torch.manual_seed(7)
    small_vae(2).save_pretrained(folder)
    (folder / "README.md").write_text(CARD.format(license="cc-by-nc-4.0"))
    (folder / "another.safetensors").write_bytes(b"of other tools")
    hub.add_repo("model", "lab/vae", folder)
    return folder


def trained_with(run: RunDir, vae: object) -> RunDir:
    text = run.config.read_text()
    replaced = text.replace(
        "pretrained_vae_model_name_or_path: null", f"pretrained_vae_model_name_or_path: {vae}"
    )
    assert replaced != text
    run.config.write_text(replaced)
    return run


def has_weights(pipeline: Any, folder: Path) -> bool:
    expected = load_file(folder / "diffusion_pytorch_model.safetensors")
    found = pipeline.vae.state_dict()
    return all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.process
def test_a_lora_is_loaded_with_the_vae_it_was_trained_with(
    hub: HubServer, lora_run: RunDir, vae: Path
) -> None:
    publish(trained_with(lora_run, "lab/vae"), **SETTINGS)
    card = hub.repo_files("model", "ada/lora")["README.md"].decode()
    assert "trained and audited with the VAE of [lab/vae](https://huggingface.co/lab/vae)." in card
    # The card's own code, as a reader would run it, up to the LoRA itself.
    code = card.split("```python\n")[1].split("pipeline.load_lora")[0]
    assert 'AutoencoderKL.from_pretrained("lab/vae")' in code
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    assert has_weights(names["pipeline"], vae)
    assert has_weights(pull("ada/lora"), vae)


@pytest.mark.process
def test_a_vae_of_this_machine_is_withheld(
    hub: HubServer, lora_run: RunDir, vae: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(trained_with(lora_run, vae), **SETTINGS)
    files = hub.repo_files("model", "ada/lora")
    assert not any(str(vae).encode() in data for data in files.values())
    assert b"another VAE than its base's, which is not public." in files["README.md"]
    with caplog.at_level(logging.WARNING, "memshield"):
        assert not has_weights(pull("ada/lora"), vae)
    assert "another VAE than its base's, which was withheld" in caplog.text


@pytest.mark.process
def test_a_private_vae_keeps_the_model_private(hub: HubServer, lora_run: RunDir, vae: Path) -> None:
    HfApi(token=TOKEN).update_repo_settings("lab/vae", private=True)
    trained_with(lora_run, "lab/vae")
    with pytest.raises(UserError, match="the VAE private"):
        publish(lora_run, **SETTINGS, hub_private_repo=False, hub_confirm=["no_audit"])


@pytest.mark.slow
@pytest.mark.process
def test_a_full_model_holds_its_vae_and_safety_checker(
    hub: HubServer, vae: Path, tmp_path: Path
) -> None:
    base = sd_pipeline(tmp_path / "sd15", has_safety_checker=True)
    (base / "README.md").write_text(CARD.format(license="creativeml-openrail-m"))
    hub.add_repo("model", "lab/sd15", base)
    settings = lora_settings(
        tmp_path / "run",
        training="full",
        pretrained_model_name_or_path="lab/sd15",
        pretrained_vae_model_name_or_path="lab/vae",
        num_shards=1,
        num_rounds=1,
        max_train_steps=1,
    )
    train_in_child(hub, tmp_path, **settings)
    run = RunDir(tmp_path / "run")
    publish(run, hub_model_id="ada/full", hub_license=None)
    pipeline = pull("ada/full")
    assert type(pipeline.safety_checker).__name__ == "StableDiffusionSafetyChecker"
    assert has_weights(pipeline, vae)
    card = hub.repo_files("model", "ada/full")["README.md"].decode()
    assert "the VAE of [lab/vae](https://huggingface.co/lab/vae), which it holds" in card
    assert "license: cc\\-by\\-nc\\-4.0" in card or "(license: cc-by-nc-4.0)" in card
    # Its weights are the model's: what its license forbids is asked about.
    HfApi(token=TOKEN).upload_file(
        path_or_fileobj=CARD.format(license="cc-by-nd-4.0").encode(),
        path_in_repo="README.md",
        repo_id="lab/vae",
    )
    with pytest.raises(UserError, match=r"license of the VAE, cc-by-nd-4\.0, allows no deriv"):
        publish(run, hub_model_id="ada/full", hub_license=None)


@pytest.mark.process
def test_a_vae_that_is_no_id_of_the_hub_is_refused(
    hub: HubServer, lora_run: RunDir, vae: Path, tmp_path: Path
) -> None:
    publish(trained_with(lora_run, "lab/vae"), **SETTINGS)
    folder = tmp_path / "changed"
    for name, data in hub.repo_files("model", "ada/lora").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    manifest = Manifest.read(folder / NAME)
    assert manifest.vae is not None
    bad = manifest.vae.model_copy(update={"name": "../secret"})
    manifest.model_copy(update={"vae": bad}).write(folder)
    problems = [problem for check in verify(in_folder(folder)) for problem in check.problems]
    assert any("names a VAE that is no id on the Hub" in problem for problem in problems)
