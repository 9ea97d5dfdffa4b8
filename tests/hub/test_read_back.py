"""Published models come back: by MemShield, checked, and by stock diffusers without it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


@pytest.mark.process
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


@pytest.mark.process
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
    said = capsys.readouterr().out
    assert "Every file has the hash that memshield.json gives." in said
    assert 'pipeline = pull("ada/digits")' in said
    (tag,) = hub.tags("model", "ada/digits")
    assert main(["pull", "ada/digits", "--revision", tag]) == 0
    assert f'pipeline = pull("ada/digits", revision="{tag}")' in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "pulled"), "--revision", tag]) == 2
    assert "is a folder, which has none" in capsys.readouterr().err
    (tmp_path / "pulled/model_index.json").write_text("{}")
    assert main(["verify", str(tmp_path / "pulled")]) == 1
    assert "model_index.json is another file" in capsys.readouterr().out


def test_edits_are_found(hub: HubServer, digits_run: RunDir) -> None:
    published = publish(digits_run)
    assert problems(hub) == ""
    change("README.md", lambda text: text.replace("license: mit", "license: apache-2.0"))
    assert "license says apache-2.0, memshield.json mit" in problems(hub)
    change("README.md", lambda text: text.replace("value: 0.369", "value: 0.169"))
    assert "model-index says" in problems(hub)
    change("README.md", lambda text: text.replace("No sign beyond chance", "Proven safe"))
    assert "it lacks: - Copies: No sign beyond chance" in problems(hub)
    change("audit/report.json", lambda text: text.replace('"training": 120', '"training": 999'))
    assert "audit/report.json is another file" in problems(hub)
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


# Repositories that were made to deceive


def rewritten(hub: HubServer, name: str, **changes: Any) -> str:
    """The problems of a copy of the published model, whose claims were made anew for other files.

    Args:
        name: of the copy.
        changes: `files`, by path, over those that were published; the rest changes memshield.json.
    """
    files = hub.repo_files("model", "ada/digits")
    files["README.md"] = files["README.md"].replace(b"ada/digits", f"bob/{name}".encode())
    files["README.md"] = files["README.md"].replace(b"# digits", f"# {name}".encode())
    files |= changes.pop("files", {})
    values = json.loads(files["memshield.json"])
    values |= changes
    own = {"README.md", "memshield.json", ".gitattributes"}
    values["files"] = {
        path: hashlib.sha256(data).hexdigest() for path, data in files.items() if path not in own
    }
    files["memshield.json"] = json.dumps(values).encode()
    hub.add_files("model", f"bob/{name}", files)
    return problems(hub, f"bob/{name}")


def test_models_that_bring_code_or_are_others_than_they_say(
    hub: HubServer, digits_run: RunDir
) -> None:
    publish(digits_run)
    index = json.loads(hub.repo_files("model", "ada/digits")["model_index.json"])

    def with_index(**changes: Any) -> dict[str, bytes]:
        return {"model_index.json": json.dumps({**index, **changes}).encode()}

    assert rewritten(hub, "same") == ""
    for name, words, changes in (
        ("code", "code of another library", {"files": with_index(unet=["my_module", "Net"])}),
        ("list", "names no class", {"files": with_index(_class_name=["x", "DDPMPipeline"])}),
        ("kind", "says DDIMPipeline", {"files": with_index(_class_name="DDIMPipeline")}),
        ("map", "would have its own code run (auto_map)",
         {"files": {"unet/config.json": b'{"auto_map": {"AutoModel": "x.Y"}}'}}),
        ("more", "the weights of vae are missing",
         {"files": with_index(vae=["diffusers", "AutoencoderKL"])}),
        ("png", "samples/0.png is not a PNG file", {"files": {"samples/0.png": b"MZ"}}),
        ("picture", "of the gallery is not listed", {"gallery": ["https://evil.example/x.png"]}),
        ("json", "is not valid JSON", {"files": {"scheduler/scheduler_config.json": b"{" * 9}}),
    ):  # fmt: skip
        found = rewritten(hub, name, **changes)
        assert words in found, name
        with pytest.raises(UserError):
            pull(f"bob/{name}")


@pytest.mark.parametrize(
    "text",
    [
        '{"version": 1' + "[" * 100_000,
        '{"version": 1, "files": {"x": 1}}',
        "[1]",
        "\xff",
    ],
)
def test_claims_that_are_no_claims(hub: HubServer, digits_run: RunDir, text: str) -> None:
    publish(digits_run)
    files = hub.repo_files("model", "ada/digits") | {"memshield.json": text.encode("latin-1")}
    hub.add_files("model", "bob/odd", files)
    with pytest.raises(UserError, match=r"memshield\.json"):
        pull("bob/odd")


def test_a_huge_file_of_claims_is_not_fetched(hub: HubServer, digits_run: RunDir) -> None:
    publish(digits_run)
    files = hub.repo_files("model", "ada/digits") | {"memshield.json": b" " * 20_000_001}
    hub.add_files("model", "bob/huge", files)
    mark = len(hub.requests)
    assert "memshield.json is too large" in problems(hub, "bob/huge")
    assert not [request for request in hub.requests[mark:] if "/resolve/" in request.path]


def test_many_files_that_are_large_together_are_not_fetched(
    hub: HubServer, digits_run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(digits_run)
    pictures = {f"samples/{number}.png": b" " * 50_000 for number in range(40, 60)}
    hub.add_files("model", "bob/many", hub.repo_files("model", "ada/digits") | pictures)
    monkeypatch.setattr("memshield.hub.verify._LARGEST_TOGETHER", 1_000_000)
    mark = len(hub.requests)
    assert "what is there beside the weights is too large" in problems(hub, "bob/many")
    assert not [request for request in hub.requests[mark:] if "/resolve/" in request.path]


@pytest.mark.process
def test_a_lora_on_a_variant_of_its_base(
    hub: HubServer, lora_run: RunDir, tiny_base: Path, tmp_path: Path
) -> None:
    half = Path(shutil.copytree(tiny_base, tmp_path / "half"))
    for path in half.rglob("*.safetensors"):
        path.rename(path.with_name(f"{path.stem}.fp16.safetensors"))
    commit = hub.add_repo("model", "lab/half", half)
    text = lora_run.config.read_text().replace("lab/tiny-sd", "lab/half")
    text = text.replace(hub.head("model", "lab/tiny-sd"), commit)
    lora_run.config.write_text(text.replace("variant: null", "variant: fp16"))
    publish(lora_run, hub_model_id="ada/lora", hub_license=None)
    assert pull("ada/lora").get_active_adapters() == ["default_0"]
    assert b'variant="fp16"' in hub.repo_files("model", "ada/lora")["README.md"]


def test_a_folder_that_is_not_empty_is_left_alone(
    hub: HubServer, digits_run: RunDir, tmp_path: Path
) -> None:
    publish(digits_run)
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UserError, match="is not empty"):
        fetch("ada/digits", folder=tmp_path)
    assert (tmp_path / "mine").read_text() == "x"
