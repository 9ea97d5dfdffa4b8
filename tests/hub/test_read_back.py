"""Published models come back: by MemShield, checked, and by stock diffusers without it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from memshield.__main__ import main
from memshield.errors import UserError
from memshield.hub.account import api_for
from memshield.hub.pull import fetch, pull
from memshield.hub.verify import in_folder, on_hub, verify
from memshield.rundir import RunDir
from tests.hub.conftest import TOKEN
from tests.hub.publishing import publish
from tests.hub_server import HubServer

STOCK = """
import sys
from pathlib import Path
import torch
from diffusers import DDIMPipeline, DiffusionPipeline
assert not any("memshield" in name for name in sys.modules)
pixels = DDIMPipeline.from_pretrained("ada/digits")
image = pixels(num_inference_steps=2).images[0]
text = DiffusionPipeline.from_pretrained("lab/tiny-sd")
before = text("a cat", num_inference_steps=1, generator=torch.Generator().manual_seed(0),
              height=16, width=16, output_type="np").images
text.load_lora_weights("ada/lora")
after = text("a cat", num_inference_steps=1, generator=torch.Generator().manual_seed(0),
             height=16, width=16, output_type="np").images
print(image.size, text.get_active_adapters(), abs(after - before).max() > 0)
"""


def problems(hub: HubServer, repo_id: str = "ada/digits", revision: str | None = None) -> str:
    checks = verify(on_hub(api_for(), repo_id, revision)[0])
    return "\n".join(problem for check in checks for problem in check.problems)


def change(path: str, edit: Callable[[str], str], repo_id: str = "ada/digits") -> None:
    """Somebody edits a file of the repository."""
    api = HfApi(token=TOKEN)
    text = Path(api.hf_hub_download(repo_id, path)).read_text()
    new = edit(text)
    assert new != text
    addition = CommitOperationAdd(path_in_repo=path, path_or_fileobj=new.encode())
    api.create_commit(repo_id, [addition], commit_message="An edit")


def test_stock_diffusers_loads_it(
    hub: HubServer, digits_run: RunDir, lora_run: RunDir, tmp_path: Path
) -> None:
    publish(digits_run)
    publish(lora_run, hub_model_id="ada/lora", hub_license=None)
    child = subprocess.run(
        [sys.executable, "-c", STOCK],
        cwd=tmp_path,
        env=hub.environ(tmp_path / "home", TOKEN) | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.splitlines()[-1] == "(8, 8) ['default_0'] True"


def test_pull_gives_ready_pipelines(
    hub: HubServer, digits_run: RunDir, lora_run: RunDir, tmp_path: Path
) -> None:
    published = publish(digits_run)
    publish(lora_run, hub_model_id="ada/lora", hub_license=None)
    pixels = pull("ada/digits", published.tag)
    assert pixels(num_inference_steps=2, output_type="np").images.shape == (1, 8, 8, 1)
    text = pull("ada/lora")
    assert text.get_active_adapters() == ["default_0"]
    local, manifest = fetch("ada/digits", folder=tmp_path / "here")
    assert local == tmp_path / "here"
    assert {path for path in manifest.files if not (local / path).is_file()} == set()
    assert not [p for check in verify(in_folder(local)) for p in check.problems]


def test_the_commands(
    hub: HubServer, digits_run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["publish", str(digits_run.path), "--hub_model_id", "ada/digits"]
    words += ["--hub_license", "mit"]
    assert main([*words, "--preview", str(tmp_path / "preview")]) == 0
    said = capsys.readouterr().out
    assert "ada/digits, private, memshield-" in said
    assert "unet/diffusion_pytorch_model.safetensors" in said
    assert not hub.exists("model", "ada/digits")
    assert not [p for check in verify(in_folder(tmp_path / "preview")) for p in check.problems]
    assert main([*words, "--preview", str(tmp_path / "preview")]) == 2
    capsys.readouterr()
    assert main(words) == 0
    assert f"Published: {hub.endpoint}/ada/digits (private), tag memshield-" in (
        capsys.readouterr().out
    )
    assert main(words) == 0
    assert "nothing changed" in capsys.readouterr().out
    assert main(["verify", "ada/digits"]) == 0
    assert "FAILED" not in capsys.readouterr().out
    assert main(["pull", "ada/digits", "--output_dir", str(tmp_path / "pulled")]) == 0
    assert "Every file is as it was published." in capsys.readouterr().out
    (tmp_path / "pulled/model_index.json").write_text("{}")
    assert main(["verify", str(tmp_path / "pulled")]) == 1
    assert "model_index.json is another file" in capsys.readouterr().out


def test_edits_are_found(hub: HubServer, digits_run: RunDir) -> None:
    published = publish(digits_run)
    assert problems(hub) == ""
    # A person may write more into the card.
    change("README.md", lambda text: text + "\nThanks to everybody.\n")
    assert problems(hub) == ""
    change("README.md", lambda text: text.replace("license: mit", "license: apache-2.0"))
    assert "license says 'apache-2.0', memshield.json 'mit'" in problems(hub)
    change("README.md", lambda text: text.replace("value: 0.369", "value: 0.169"))
    assert "model-index says" in problems(hub)
    change("README.md", lambda text: text.replace("No sign beyond chance", "Proven safe"))
    assert "does not hold the verdict" in problems(hub)
    change("audit/report.json", lambda text: text.replace('"training": 120', '"training": 999'))
    found = problems(hub)
    assert "audit/report.json is another file" in found
    assert "is not the audit of memshield.json" in found
    with pytest.raises(UserError, match=r"audit/report\.json is another file"):
        pull("ada/digits")
    assert problems(hub, revision=published.tag) == ""


def test_claims_that_do_not_agree_with_themselves(hub: HubServer, digits_run: RunDir) -> None:
    publish(digits_run)

    def better(text: str) -> str:
        values = json.loads(text)
        values["audit"]["memorization"][0]["excess"] = -0.5
        values["audit"]["verdict"] = "It memorizes nothing."
        values["audit"]["target"]["weights"] = "0" * 64
        return json.dumps(values)

    change("memshield.json", better)
    found = problems(hub)
    assert "the verdict does not follow from the figures" in found
    assert "is not share minus chance" in found
    assert "the audit is of other weights" in found


def test_other_weights_are_found(hub: HubServer, digits_run: RunDir) -> None:
    publish(digits_run)
    weights = "unet/diffusion_pytorch_model.safetensors"
    data = bytearray(hub.repo_files("model", "ada/digits")[weights])
    data[-1] ^= 1
    api = HfApi(token=TOKEN)
    addition = CommitOperationAdd(path_in_repo=weights, path_or_fileobj=bytes(data))
    api.create_commit("ada/digits", [addition], commit_message="Better weights")
    assert f"{weights} is another file" in problems(hub)
    api.create_commit(
        "ada/digits", [CommitOperationDelete(path_in_repo=weights)], commit_message="None"
    )
    assert f"{weights} is missing" in problems(hub)


def test_files_that_should_not_be_there(hub: HubServer, digits_run: RunDir) -> None:
    publish(digits_run)
    api = HfApi(token=TOKEN)
    for name in ("unet/pytorch_model.bin", "pipeline.py", "samples/99.png"):
        addition = CommitOperationAdd(path_in_repo=name, path_or_fileobj=b"x")
        api.create_commit("ada/digits", [addition], commit_message="More")
    found = problems(hub)
    assert "unet/pytorch_model.bin is no file that is published" in found
    assert "pipeline.py is no file that is published" in found
    assert "samples/99.png is not listed" in found
    mark = len(hub.requests)
    with pytest.raises(UserError, match=r"pipeline\.py is no file that is published"):
        pull("ada/digits")
    assert not [r for r in hub.requests[mark:] if "safetensors" in r.path or ".bin" in r.path]


@pytest.mark.parametrize("name", ["../escape.txt", "a/../../escape.txt", "/etc/escape.txt"])
def test_names_that_lead_out_of_the_folder(
    hub: HubServer, digits_run: RunDir, tmp_path: Path, name: str
) -> None:
    publish(digits_run)
    files = {**hub.repo_files("model", "ada/digits"), name: b"x"}
    hub.add_files("model", "bob/tricks", files)
    with pytest.raises(UserError, match="leads out of the folder"):
        fetch("bob/tricks", folder=tmp_path / "deep/er")
    assert not list(tmp_path.rglob("escape.txt"))


def test_a_link_in_a_folder_is_found(hub: HubServer, digits_run: RunDir, tmp_path: Path) -> None:
    publish(digits_run)
    local, _ = fetch("ada/digits", folder=tmp_path / "here")
    (local / "audit/report.html").unlink()
    (local / "audit/report.html").symlink_to("/etc/hostname")
    found = [problem for check in verify(in_folder(local)) for problem in check.problems]
    assert any("audit/report.html" in problem for problem in found)


@pytest.mark.parametrize(
    ("repo_id", "revision", "words"),
    [
        ("ada/nothing", None, "is not on the Hub or not readable"),
        ("ada/digits", "v9", "has no revision 'v9'"),
        ("lab/tiny-sd", None, "lab/tiny-sd has no memshield.json"),
        ("ada/pictures", None, "is a dataset, not a model"),
        ("../x", None, "is no id on the Hub"),
    ],
)
def test_what_cannot_be_pulled(
    hub: HubServer, digits_run: RunDir, repo_id: str, revision: str | None, words: str
) -> None:
    publish(digits_run)
    with pytest.raises(UserError, match=words):
        pull(repo_id, revision)


def test_pull_without_network(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="the Hub cannot be reached"):
        pull("ada/digits")
