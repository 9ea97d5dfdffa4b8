"""Describing models on the loopback Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from tests.hub.catalog import ADA, EVE, Visit, ask, words
from tests.hub_server import HubServer

pytestmark = pytest.mark.process

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def signed_out(hub: HubServer, home: Path) -> Visit:
    ids = ("ada/tiny-sd", "ada/tiny-ddpm", "bob/tiny-ddim", "lab/gated-sd")
    return ask(
        hub,
        home,
        *(("describe_model", {"repo_id": name}) for name in ids),
        ("describe_model", {"repo_id": f"{hub.endpoint}/ada/tiny-sd", "revision": "v1"}),
    )


def weights_of(folder: Path) -> int:
    return sum(array.size for array in load_file(folder / UNET).values())


def test_a_text_model(signed_out: Visit, hub_folders: Path) -> None:
    found = signed_out.answers[0]
    folder = hub_folders / "models/sd"
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "README.md"]
    assert found == {
        "id": "ada/tiny-sd",
        "sha": found["sha"],
        "page": found["page"],
        "pipeline_class": "StableDiffusionPipeline",
        "family": "stable_diffusion",
        "training": "lora",
        "resolution": 16,
        "parameters": weights_of(folder),
        "download_bytes": sum(file.stat().st_size for file in files),
        "license": {"id": "other", "name": "tiny-license", "link": "https://example.org/tiny"},
        "gated": False,
        "has_access": True,
        "private": False,
        "downloads": 50,
        "likes": 3,
    }
    assert len(found["sha"]) == 40
    assert found["page"].endswith("/ada/tiny-sd")


def test_pixel_models(signed_out: Visit, hub_folders: Path) -> None:
    ddpm, ddim = signed_out.answers[1:3]
    assert (ddpm["family"], ddpm["training"], ddpm["resolution"]) == ("unconditional", "full", 8)
    assert ddpm["parameters"] == weights_of(hub_folders / "models/ddpm")
    assert ddim["pipeline_class"] == "DDIMPipeline"


def test_a_gated_model_is_told_of_but_not_looked_into(signed_out: Visit) -> None:
    found = signed_out.answers[3]
    assert (found["gated"], found["has_access"]) == (True, False)
    assert (found["family"], found["training"]) == ("stable_diffusion", "lora")
    assert found["license"]["name"] == "tiny-license"
    assert found["page"].endswith("/lab/gated-sd")
    unknown = ("resolution", "parameters", "download_bytes")
    assert [found[name] for name in unknown] == [None, None, None]


def test_a_pasted_address_and_a_tag(signed_out: Visit) -> None:
    assert signed_out.answers[4] == signed_out.answers[0]


def test_no_weights_are_fetched(signed_out: Visit) -> None:
    assert signed_out.fetched
    assert all(request.headers["range"] == "bytes=0-100000" for request in signed_out.fetched)
    paths = {request.path for request in signed_out.to_hub if "safetensors" in request.path}
    assert all("/unet/" in path for path in paths)


def test_a_signed_out_visitor_never_uses_the_hosts_token(signed_out: Visit) -> None:
    assert not [request for request in signed_out.requests if "authorization" in request.headers]


def test_access_by_token(hub: HubServer, home: Path) -> None:
    hub.set_gated_access("ada", [("model", "lab/gated-sd")])
    # The files of gated-sd are in Ada's cache before Eve asks from the same machine.
    calls: list[tuple[str, Any]] = [
        ("lab/gated-sd", ADA), ("lab/gated-sd", EVE), ("lab/gated-sd", None),
        ("ada/secret-sd", ADA), ("ada/secret-sd", EVE), ("ada/secret-sd", False),
        ("ada/tiny-sd", "hf_nobody"), ("ada/tiny-sd", ""),
    ]  # fmt: skip
    visit = ask(hub, home, *(("describe_model", {"repo_id": i, "token": t}) for i, t in calls))
    granted, stranger, host, own, *refused = visit.answers
    assert (granted["gated"], granted["has_access"], granted["resolution"]) == (True, True, 16)
    assert (stranger["has_access"], stranger["resolution"]) == (False, None)
    assert host["has_access"]
    assert own["private"]
    for answer in refused[:2]:
        assert "ada/secret-sd is not on the Hub or not readable" in words(answer)
    assert "HF_TOKEN: the Hub does not know this token" in words(refused[2])
    assert "HF_TOKEN" in words(refused[3])
    for request in visit.fetched:
        assert "authorization" not in request.headers


@pytest.fixture(scope="module")
def refusals(hub: HubServer, home: Path) -> dict[str, str]:
    calls = {
        "missing": {"repo_id": "ada/nothing"},
        "dataset": {"repo_id": "ada/folder"},
        "revision": {"repo_id": "ada/tiny-sd", "revision": "v9"},
        "pickled": {"repo_id": "ada/pickled-sd"},
        "component": {"repo_id": "ada/custom-sd"},
        "pipeline": {"repo_id": "ada/custom-pipeline"},
        "unsupported": {"repo_id": "ada/chroma"},
        "gated": {"repo_id": "lab/gated-chroma"},
        "odd": {"repo_id": "ada/odd-ddpm"},
        "garbled": {"repo_id": "ada/garbled-ddpm"},
        "folder": {"repo_id": "memshield/hub"},
        "path": {"repo_id": "../hub"},
        "address": {"repo_id": "https://huggingface.co/datasets/ada/folder"},
    }
    visit = ask(hub, home, *(("describe_model", one) for one in calls.values()))
    return dict(zip(calls, map(words, visit.answers), strict=True))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing", "pretrained_model_name_or_path: ada/nothing is not on the Hub"),
        ("dataset", "ada/folder is a dataset, not a model"),
        ("revision", "revision: ada/tiny-sd has no revision 'v9'"),
        ("pickled", "only pickled ones, which can run code"),
        ("component", "brings its own code for unet, which is never run"),
        ("pipeline", "MyPipeline (custom code in the repository), which is not supported"),
        ("unsupported", "is a ChromaPipeline, which is not supported"),
        ("gated", "is a ChromaPipeline, which is not supported"),
        ("odd", "hold what no pipeline's hold"),
        ("garbled", "is no safetensors file"),
        ("folder", "memshield/hub is not on the Hub"),
        ("path", "An id is owner/name"),
        ("address", "is the page of a dataset"),
    ],
)
def test_refusals(refusals: dict[str, str], name: str, expected: str) -> None:
    assert expected in refusals[name]


def test_a_hub_that_does_not_answer(hub: HubServer, home: Path) -> None:
    visit = ask(
        hub,
        home,
        ("describe_model", {"repo_id": "ada/tiny-sd"}),
        ("describe_dataset", {"repo_id": "ada/folder"}),
        HF_ENDPOINT="http://127.0.0.1:9",
    )
    assert [answer["error"]["field"] for answer in visit.answers] == [
        "pretrained_model_name_or_path",
        "dataset_name",
    ]
    assert all("the Hub cannot be reached" in words(answer) for answer in visit.answers)
