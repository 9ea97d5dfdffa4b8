"""Publishing to the loopback Hub with the real client: what arrives, and for whom."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from memshield.audit.report import REPORT, Report
from memshield.config.file import make_config, read_yaml
from memshield.digests import weights_sha256
from memshield.errors import UserError
from memshield.hub.manifest import Manifest
from memshield.hub.publish.preflight import publishing_errors
from memshield.hub.publish.publishing import Publisher, open_to_publish
from memshield.rundir import RunDir
from memshield.runs.publication import read_publication
from memshield.ui.runs.publish_problems import problems_in
from tests.hub.conftest import BOBS, TOKEN
from tests.hub.publishing import publish, require_complete
from tests.hub_server import Fault, HubServer
from tests.watches import made_watch


def refused(run: RunDir, **changes: Any) -> str:
    with pytest.raises(UserError) as error:
        publish(run, **changes)
    state = read_publication(run)
    assert state["state"] == "failed"
    assert state["reason"] == str(error.value)
    return str(error.value)


def change_report(run: RunDir, **changes: Any) -> None:
    """Give the model's audit other figures of its headline."""
    path = run.audit_of(None) / REPORT
    report = Report.read(path)
    headline = report.headline.model_copy(update=changes)
    report.model_copy(update={"memorization": (headline, *report.memorization[1:])}).write(path)


def test_a_run_is_published_and_again_changes_nothing(hub: HubServer, digits_run: RunDir) -> None:
    before = digits_run.read_status()
    published = publish(digits_run)
    assert published.changed
    assert not published.public
    assert hub.is_private("model", "ada/digits")
    assert hub.head("model", "ada/digits") == published.commit
    require_complete(hub, published)
    state = read_publication(digits_run)
    assert (state["state"], state["tag"], state["url"]) == ("done", published.tag, published.url)
    assert state["weights"] == weights_sha256(digits_run.model)
    assert published.url == f"{hub.endpoint}/ada/digits"
    assert digits_run.read_status() == before

    mark = len(hub.requests)
    again = publish(digits_run)
    assert (again.changed, again.tag, again.commit) == (False, published.tag, published.commit)
    assert all(request.method in ("GET", "HEAD") for request in hub.requests[mark:])


def test_a_watch_is_published_with_its_audit(hub: HubServer, digits_run: RunDir) -> None:
    path = digits_run.audit_of(None) / REPORT
    record = made_watch()
    Report.read(path).model_copy(update={"watch": record}).write(path)
    require_complete(hub, publish(digits_run))
    files = hub.repo_files("model", "ada/digits")
    assert json.loads(files["memshield.json"])["audit"]["watch"] == json.loads(
        record.model_dump_json()
    )
    assert b"Held-out loss by noise level" in files["audit/report.html"]
    # Means over pictures, by band and by step: nothing of a single one.
    assert set(record.model_dump()) == {
        "version", "pictures", "draws", "bounds", "stops", "checks", "stopped"
    }  # fmt: skip
    assert {name for check in record.checks for name in check.model_dump()} == {"step", "losses"}


@pytest.mark.process
def test_a_draft_asks_nobody_who_publishes(
    hub: HubServer, digits_run: RunDir, lora_run: RunDir, tmp_path: Path
) -> None:
    run, config = open_to_publish(digits_run.path)
    manifest = Publisher(run, config, token=False).draft(tmp_path / "digits")
    assert not hub.requests, "a run of the app's own pictures is nobody's business"
    card = (tmp_path / "digits" / "README.md").read_text()
    assert f'from_pretrained("you/{run.path.name}")' in card
    assert manifest.audit is not None and manifest.audit.verdict in card
    assert read_publication(digits_run) == {}

    hub.add_repo("dataset", "ada/hidden", tmp_path / "digits", private=True)
    lora, settings = open_to_publish(lora_run.path, hub_model_id="ada/mine")
    hidden = settings.model_copy(update={"dataset_name": "ada/hidden"})
    Publisher(lora, hidden, token=False).draft(tmp_path / "drafted")
    assert {request.method for request in hub.requests} <= {"GET", "HEAD"}
    texts = [
        path.read_text()
        for path in (tmp_path / "drafted").glob("*")
        if path.suffix != ".safetensors" and path.is_file()
    ]
    assert "ada/mine" in "".join(texts) and "ada/hidden" not in "".join(texts)

    hub.fail(Fault("answer", path="/api/", times=None))
    with pytest.raises(UserError, match="answered 503"):
        Publisher(lora, hidden, token=False).draft(tmp_path / "busy")


@pytest.mark.process
def test_nothing_private_goes_out(hub: HubServer, lora_run: RunDir, digits_run: RunDir) -> None:
    publish(digits_run)
    publish(lora_run, hub_model_id="ada/lora", hub_license=None)
    for repo_id, run in (("ada/digits", digits_run), ("ada/lora", lora_run)):
        for name, data in hub.repo_files("model", repo_id).items():
            for word in (TOKEN, "secret caption", str(run.path), "/tmp/", '"seed": 0', "sha256"):
                assert word.encode() not in data, f"{word} in {name}"
    for request in hub.requests:
        assert request.origin == "hub" or "authorization" not in request.headers


@pytest.mark.process
def test_the_card_of_a_lora(hub: HubServer, lora_run: RunDir) -> None:
    published = publish(lora_run, hub_model_id="ada/lora", hub_license=None)
    require_complete(hub, published)
    info = HfApi(token=TOKEN).model_info("ada/lora")
    assert info.card_data is not None
    data = info.card_data.to_dict()
    assert data["license"] == "creativeml-openrail-m"
    assert (data["base_model"], data["base_model_relation"]) == ("lab/tiny-sd", "adapter")
    assert data["datasets"] == ["ada/pictures"]
    assert (data["library_name"], data["pipeline_tag"]) == ("diffusers", "text-to-image")
    card = hub.repo_files("model", "ada/lora")["README.md"].decode()
    assert "Not audited" in card
    assert hub.head("model", "lab/tiny-sd") in card


def test_an_audit_stands_on_the_card_with_those_beside_it(
    hub: HubServer, digits_run: RunDir, tmp_path: Path
) -> None:
    report = Report.read(digits_run.audit_of(None) / REPORT)
    other = report.model_copy(update={"verdict": "an audit of another model"})
    other.write(tmp_path / "plain" / REPORT)
    publish(digits_run, beside=[f"plain={tmp_path / 'plain'}"])
    files = hub.repo_files("model", "ada/digits")
    card = files["README.md"].decode()
    assert report.verdict in card
    assert re.search(r"^\| this model \|.*\n\| plain \|", card, re.MULTILINE)
    assert {"samples/0.png", "audit/report.html"} <= files.keys()
    manifest = json.loads(files["memshield.json"])
    assert manifest["beside"]["plain"]["generated"]["seed"] is None
    assert b"plain" in files["audit/report.html"]

    foreign = report.data.model_copy(update={"fingerprint": "1" * 64})
    report.model_copy(update={"data": foreign}).write(tmp_path / "plain" / REPORT)
    assert "other training or held-out pictures" in refused(
        digits_run, beside=[str(tmp_path / "plain")]
    )


def test_no_card_is_a_list_of_audits(hub: HubServer, digits_run: RunDir) -> None:
    audit = digits_run.audit_of(None)
    many = [f"m{number}={audit}" for number in range(8)]
    assert "8 audits are too many for a card" in refused(digits_run, beside=many)
    assert not hub.exists("model", "ada/digits")
    publish(digits_run, beside=many[:7])
    path = digits_run.path / "memshield.json"
    path.write_bytes(hub.repo_files("model", "ada/digits", "main")["memshield.json"])
    claims = json.loads(path.read_text())
    assert len(Manifest.read(path).beside) == 7
    claims["beside"]["one more"] = claims["audit"]
    path.write_text(json.dumps(claims))
    with pytest.raises(UserError, match="beside"):
        Manifest.read(path)


@pytest.mark.process
def test_a_second_model_replaces_the_first_and_its_files(
    hub: HubServer, digits_run: RunDir, lora_run: RunDir
) -> None:
    first = publish(digits_run, hub_model_id="ada/model")
    second = publish(lora_run, hub_model_id="ada/model", hub_license=None)
    require_complete(hub, second)
    assert "unet/config.json" not in hub.repo_files("model", "ada/model")
    assert hub.tags("model", "ada/model")[first.tag] == first.commit
    back = publish(digits_run, hub_model_id="ada/model")
    assert back.changed
    assert "unet/config.json" in hub.repo_files("model", "ada/model")
    assert hub.tags("model", "ada/model")[back.tag] == first.commit


# Who may read it


def test_public_only_where_it_was_asked_for(hub: HubServer, digits_run: RunDir) -> None:
    published = publish(digits_run, hub_private_repo=False)
    assert published.public
    assert not hub.is_private("model", "ada/digits")


def test_what_shall_be_private_does_not_go_where_everybody_reads(
    hub: HubServer, digits_run: RunDir
) -> None:
    before = publish(digits_run, hub_private_repo=False)
    head = hub.head("model", "ada/digits")
    said = refused(digits_run, hub_private_repo=True)
    assert "hub_private_repo: ada/digits is public" in said
    asked = make_config(read_yaml(digits_run.config)).model_copy(
        update={"hub_model_id": "ada/digits", "hub_license": "mit", "hub_private_repo": True}
    )
    assert "ada/digits is public" in "".join(map(str, publishing_errors(asked, TOKEN)))
    assert hub.head("model", "ada/digits") == head
    # What nothing is said of stays as it is.
    assert publish(digits_run).public and before.public


@pytest.mark.process
def test_without_an_audit_only_private(hub: HubServer, lora_run: RunDir) -> None:
    public: dict[str, Any] = {
        "hub_model_id": "ada/lora", "hub_license": None, "hub_private_repo": False,
    }  # fmt: skip
    said = refused(lora_run, **public)
    assert "was not audited" in said
    assert "python -m memshield audit" in said
    assert "--hub_confirm no_audit" in said
    told = problems_in(read_publication(lora_run), on_space=False)
    shown = next(one for one in told if "was not audited" in one.problem)
    assert "nobody knows how much" in shown.remedy
    assert "python" not in shown.remedy
    assert not hub.exists("model", "ada/lora")
    published = publish(lora_run, **public, hub_confirm=["no_audit"])
    assert published.public
    card = hub.repo_files("model", "ada/lora")["README.md"].decode()
    assert "published without an audit, and its publisher was told so" in card


def test_over_the_budget_only_private(hub: HubServer, digits_run: RunDir) -> None:
    change_report(digits_run, share=0.2, control=0.05, excess=0.15, excess_interval=(0.1, 0.2))
    said = refused(digits_run, hub_private_repo=False)
    assert "gives 15 % back beyond chance" in said
    assert "memorization" in said
    # Over chance, but within the budget that the owner set.
    publish(digits_run, hub_private_repo=False, memorization_budget=0.2)
    assert not hub.is_private("model", "ada/digits")
    assert "the budget of 2.0 %" in refused(
        digits_run, hub_private_repo=False, memorization_budget=0.02
    )
    publish(digits_run, hub_model_id="ada/other", memorization_budget=0.02)
    assert hub.is_private("model", "ada/other")


def test_an_audit_that_cannot_say_is_none(hub: HubServer, digits_run: RunDir) -> None:
    nothing = dict.fromkeys(("share", "control", "excess", "excess_interval", "threshold"))
    change_report(digits_run, **nothing, cannot_say="3 held-out pictures are too few")
    assert "cannot_say" in refused(digits_run, hub_private_repo=False)


def test_an_audit_of_other_weights_is_none(hub: HubServer, digits_run: RunDir) -> None:
    weights = digits_run.model / "unet/diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.unlink()
    weights.write_bytes(data)
    assert "of other weights" in refused(digits_run, hub_private_repo=False)
    publish(digits_run)
    assert "Not audited" in hub.repo_files("model", "ada/digits")["README.md"].decode()


@pytest.mark.process
def test_a_private_dataset_keeps_the_model_private(
    hub: HubServer, lora_run: RunDir, captions: Path, tiny_base: Path
) -> None:
    HfApi(token=TOKEN).update_repo_settings("ada/pictures", repo_type="dataset", private=True)
    settings: dict[str, Any] = {"hub_model_id": "ada/lora", "hub_license": None}
    said = refused(lora_run, **settings, hub_private_repo=False, hub_confirm=["no_audit"])
    assert "the dataset private" in said
    (lora_run.path / "empty").mkdir()
    hub.add_repo("model", "ada/lora", lora_run.path / "empty")
    assert "ada/lora is public" in refused(lora_run, **settings)
    publish(lora_run, **{**settings, "hub_model_id": "ada/quiet"})
    assert hub.is_private("model", "ada/quiet")
    for data in hub.repo_files("model", "ada/quiet").values():
        assert b"ada/pictures" not in data


# What is refused


@pytest.mark.process
def test_licenses(hub: HubServer, lora_run: RunDir, tiny_base: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"hub_model_id": "ada/lora", "hub_license": None}
    config = lora_run.config.read_text()
    for name, license, words in (
        ("bob/none", None, "is not known"),
        ("bob/link", "other\nlicense_link: LICENSE", "is not known"),
        ("bob/own", "other\nlicense_name: No Derivatives License", "allows no derivatives"),
        ("bob/nd", "cc-by-nc-nd-4.0", "allows no derivatives"),
    ):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "model_index.json").write_text((tiny_base / "model_index.json").read_text())
        if license:
            (folder / "README.md").write_text(f"---\nlicense: {license}\n---\n")
        commit = hub.add_repo("model", name, folder)
        old = hub.head("model", "lab/tiny-sd")
        lora_run.config.write_text(config.replace("lab/tiny-sd", name).replace(old, commit))
        said = refused(lora_run, **settings)
        assert words in said
        assert "--hub_confirm license" in said
    publish(lora_run, **settings, hub_confirm=["license"])
    card = hub.repo_files("model", "ada/lora")["README.md"].decode()
    assert "license: cc-by-nc-nd-4.0" in card
    assert "may not allow derivatives" in card
    # What the user says does not outweigh what the base says.
    assert "allows no derivatives" in refused(lora_run, **{**settings, "hub_license": "mit"})


def test_a_license_that_the_hub_does_not_know(hub: HubServer, digits_run: RunDir) -> None:
    said = refused(digits_run, hub_license="my-own")
    assert "README.md: the Hub does not take its metadata" in said
    assert not hub.exists("model", "ada/digits")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../x", "is no id on the Hub"),
        ("/etc/passwd", "is no id on the Hub"),
        ("ada/a/b", "is no id on the Hub"),
        ("ada/-x--y..z", "is no id on the Hub"),
        ("bob/taken", "ada cannot create bob/taken"),
        ("bob/public", "cannot write to bob/public"),
        ("ada/other", "ada/other holds other files: notes.txt"),
    ],
)
def test_names(hub: HubServer, digits_run: RunDir, tmp_path: Path, name: str, words: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    hub.add_repo("model", "bob/public", other)
    hub.add_repo("model", "ada/other", other)
    assert words in refused(digits_run, hub_model_id=name)
    assert not any(request.method == "PUT" for request in hub.requests)


def test_names_that_are_completed(hub: HubServer, digits_run: RunDir) -> None:
    assert publish(digits_run, hub_model_id="mine").repo_id == "ada/mine"
    assert publish(digits_run, hub_model_id="https://huggingface.co/lab/ours").repo_id == "lab/ours"


def test_tokens(hub: HubServer, digits_run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "readonlyreadonlyreadonlyreadonly")
    assert "the token may only read" in refused(digits_run)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "nobodysnobodysnobodysnobodys")
    said = refused(digits_run)
    assert "does not accept the token" in said
    assert "nobodys" not in said
    monkeypatch.delenv("HF_TOKEN")
    assert "no token is set" in refused(digits_run)
    monkeypatch.setenv("HF_TOKEN", BOBS)
    assert "bob cannot create ada/digits" in refused(digits_run)
    few = "hf_" + "fewrightsfewrightsfewrightsfew"
    hub.add_token("ada", few, permissions=["repo.content.read"])
    monkeypatch.setenv("HF_TOKEN", few)
    assert "this token may not create ada/digits" in refused(digits_run)
    full = "hf_" + "allrightsallrightsallrightsall"
    hub.add_token("ada", full, permissions=["repo.content.read", "repo.write"])
    monkeypatch.setenv("HF_TOKEN", full)
    assert publish(digits_run).repo_id == "ada/digits"


def test_a_full_account(hub: HubServer, digits_run: RunDir) -> None:
    hub.set_quota("ada", 1000)
    said = refused(digits_run)
    assert "storage" in said.lower()
    assert "python -m memshield publish" in said
    assert hub.tags("model", "ada/digits") == {}
    hub.set_quota("ada", 10**9)
    require_complete(hub, publish(digits_run))


def test_a_run_without_a_model(hub: HubServer, tmp_path: Path, digits_run: RunDir) -> None:
    with pytest.raises(UserError, match="holds no run"):
        publish(RunDir(tmp_path))
    digits_run.model.rename(tmp_path / "model")
    with pytest.raises(UserError, match="no model/ yet"):
        publish(digits_run)


def test_what_must_not_be_published_is_named(hub: HubServer, digits_run: RunDir) -> None:
    config = digits_run.model / "unet/config.json"
    values = json.loads(config.read_text())
    values["note"] = f"{Path.home()}/pictures and {TOKEN}"
    config.unlink()
    config.write_text(json.dumps(values))
    said = refused(digits_run)
    assert "unet/config.json: holds what looks like a token" in said
    assert "unet/config.json: names a folder of this machine" in said
    assert TOKEN not in said
    assert not hub.exists("model", "ada/digits")
    # What libraries note by themselves is left out, and what is not on the list stays behind.
    values.pop("note")
    config.write_text(json.dumps({**values, "_name_or_path": str(Path.home() / "x")}))
    (digits_run.model / "unet/optimizer.bin").write_bytes(b"x")
    (digits_run.model / "captions").mkdir()
    (digits_run.model / "captions/config.json").write_text('{"text": "a secret caption"}')
    (digits_run.model / "notes.txt").write_text("x")
    publish(digits_run)
    files = hub.repo_files("model", "ada/digits")
    assert b"_name_or_path" not in files["unet/config.json"]
    assert not {"unet/optimizer.bin", "notes.txt", "captions/config.json"} & files.keys()
