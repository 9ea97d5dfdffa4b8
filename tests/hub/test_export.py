"""A LoRA for other tools: by command from a run or the Hub, and as a second published file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file

from memshield.hub.pull import fetch, pull
from memshield.hub.verify import in_folder, on_hub, verify
from memshield.rundir import RunDir
from tests.audit.runs import command, refused
from tests.hub.publishing import publish, require_complete
from tests.hub_server import HubServer

pytestmark = pytest.mark.process

SETTINGS: dict[str, Any] = {"hub_model_id": "ada/lora", "hub_license": None}
FILE = "lora-comfyui.safetensors"


def test_a_run_and_its_publication_export_the_same_file(
    hub: HubServer, lora_run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(lora_run, **SETTINGS)
    paths = [tmp_path / f"{name}.safetensors" for name in ("run", "round", "repo")]
    command("export", lora_run.path, "--format", "kohya", "--output", paths[0])
    command("export", lora_run.path, "--format", "kohya", "--round", 2, "--output", paths[1])
    command("export", "ada/lora", "--format", "kohya", "--output", paths[2])
    assert f"{paths[2]}: 32 modules, for kohya" in capsys.readouterr().out
    assert len({path.read_bytes() for path in paths}) == 1
    names = set(load_file(paths[0]))
    assert "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.alpha" in names


def test_it_is_published_beside_the_lora_for_diffusers(hub: HubServer, lora_run: RunDir) -> None:
    published = publish(lora_run, **SETTINGS, hub_lora_format="comfyui")
    files = hub.repo_files("model", "ada/lora")
    card = files["README.md"].decode()
    assert f"`{FILE}` is the same LoRA for ComfyUI" in card
    assert "`pytorch_lora_weights.safetensors` is for diffusers" in card
    folder, manifest = fetch("ada/lora")
    assert FILE in manifest.files
    checks = verify(in_folder(folder))
    assert "the LoRA for other tools is that for diffusers" in [check.what for check in checks]
    assert {check.state for check in checks} == {"ok"}
    # diffusers takes its own of the two.
    pipeline = pull("ada/lora")
    pipeline.unload_lora_weights()
    pipeline.load_lora_weights(folder)
    assert pipeline.get_list_adapters() == {"unet": ["default_0"]}
    assert publish(lora_run, **SETTINGS, hub_lora_format="comfyui").tag == published.tag
    assert "base_quantization" not in manifest.training.settings
    text = lora_run.config.read_text()
    lora_run.config.write_text(text.replace("base_quantization: null", "base_quantization: int8"))
    plain = publish(lora_run, **SETTINGS)
    require_complete(hub, plain)
    assert fetch("ada/lora")[1].training.settings["base_quantization"] == "int8"
    assert FILE not in hub.repo_files("model", "ada/lora")


def test_of_large_ones_nothing_is_fetched_to_compare_them(
    hub: HubServer, lora_run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(lora_run, **SETTINGS, hub_lora_format="comfyui")
    monkeypatch.setattr("memshield.hub.verify._LARGEST_COMPARED", 1000)
    mark = len(hub.requests)
    holding, _ = on_hub(HfApi(), "ada/lora", None)
    (check,) = (one for one in verify(holding) if one.state != "ok")
    assert check.what == "the LoRA for other tools is that for diffusers"
    assert "`pull` fetches and compares them" in check.unchecked[0]
    asked = [request.path for request in hub.requests[mark:]]
    assert not [path for path in asked if "/resolve/" in path and path.endswith(".safetensors")]
    folder, _ = fetch("ada/lora")
    assert {check.state for check in verify(in_folder(folder))} == {"ok"}


def test_other_weights_in_it_are_found(hub: HubServer, lora_run: RunDir, tmp_path: Path) -> None:
    """They were not audited, whatever the claims say of them."""
    from memshield.digests import file_sha256
    from memshield.hub.manifest import NAME, Manifest

    publish(lora_run, **SETTINGS, hub_lora_format="comfyui")
    files = hub.repo_files("model", "ada/lora")
    folder = tmp_path / "forged"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / ".gitattributes").unlink(missing_ok=True)
    tensors = load_file(folder / FILE)
    save_file({name: tensor * 2 for name, tensor in tensors.items()}, folder / FILE)
    manifest = Manifest.read(folder / NAME)
    digests = {**manifest.files, FILE: file_sha256(folder / FILE)}
    manifest.model_copy(update={"files": digests}).write(folder)
    (failed,) = (check for check in verify(in_folder(folder)) if check.state == "failed")
    assert failed.what == "the LoRA for other tools is that for diffusers"
    assert f"{FILE} holds other weights" in failed.problems[0]


def test_what_cannot_be_exported(
    hub: HubServer, digits_run: RunDir, lora_run: RunDir, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    to = ("--format", "kohya", "--output", tmp_path / "out.safetensors")
    said = refused(capsys, "export", digits_run.path, *to)
    assert "trained in full" in said
    assert "not there yet" in refused(capsys, "export", lora_run.path, *to, "--round", 9)
    there = tmp_path / "there.safetensors"
    there.write_bytes(b"")
    said = refused(capsys, "export", lora_run.path, "--format", "kohya", "--output", there)
    assert "is there already" in said and there.read_bytes() == b""
    said = refused(capsys, "export", lora_run.path, "--format", "kohya", "--output", "out.ckpt")
    assert "output" in said
    assert "--format" in refused(capsys, "export", lora_run.path)
    assert "has one only" in refused(capsys, "export", "ada/lora", *to, "--round", 1)
    assert "only a LoRA" in refused(
        capsys, "publish", digits_run.path, "--hub_model_id", "ada/digits", "--hub_license", "mit",
        "--hub_lora_format", "kohya",
    )  # fmt: skip
