"""`python -m memshield search` and `describe`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hub.catalog import ADA, run
from tests.hub_server import HubServer

pytestmark = pytest.mark.process


def test_search_models(hub: HubServer, home: Path) -> None:
    said = run(hub, home, "search", "models", "tiny", "--limit", "2")
    assert said.splitlines() == [
        "MODEL          PIPELINE                 PARAMETERS  DOWNLOADS  LICENSE",
        "ada/tiny-ddpm  DDPMPipeline                      ?         70  apache-2.0",
        "ada/tiny-sd    StableDiffusionPipeline           ?         50  tiny-license",
        "There are more: --offset 2",
    ]


def test_search_datasets_for_machines(hub: HubServer, home: Path) -> None:
    said = run(hub, home, "search", "datasets", "secret", "--json", HF_TOKEN=ADA)
    page = json.loads(said)
    assert (page["offset"], page["more"]) == (0, False)
    assert page["items"][0]["id"] == "ada/secret-folder"
    assert page["items"][0]["last_modified"].startswith("2024-01-01T")


def test_signed_out(hub: HubServer, home: Path) -> None:
    mark = len(hub.requests)
    said = run(hub, home, "search", "models", "secret", "--signed_out", HF_TOKEN=ADA)
    assert said == "No models found.\n"
    assert not [request for request in hub.requests[mark:] if "authorization" in request.headers]


def test_describe_a_gated_model(hub: HubServer, home: Path) -> None:
    said = run(hub, home, "describe", "model", "lab/gated-sd")
    assert "StableDiffusionPipeline (stable_diffusion)" in said
    assert f"accept its conditions on {hub.endpoint}/lab/gated-sd" in said


def test_describe_a_model(hub: HubServer, home: Path) -> None:
    lines = run(hub, home, "describe", "model", "ada/tiny-sd").splitlines()
    assert "id          ada/tiny-sd" in lines
    assert "license     tiny-license (https://example.org/tiny)" in lines
    assert "trained as  a LoRA" in lines
    assert "resolution  16 px" in lines
    assert "UNet        52 K parameters" in lines


def test_describe_a_dataset(hub: HubServer, home: Path) -> None:
    words = ("describe", "dataset", "ada/two", "--dataset_config_name", "large")
    lines = run(hub, home, *words).splitlines()
    assert "configuration  large (others: small)" in lines
    assert lines[-8].split() == ["SPLIT", "ROWS", "SIZE"]
    assert lines[-7].split()[:2] == ["train", "11"]
    assert lines[-5:] == [
        "COLUMN   KIND                        USED AS",
        "picture  image                       image",
        "caption  text",
        "kind     class label (2: even, odd)  label",
        "text     text                        caption",
    ]
    page = json.loads(run(hub, home, *words, "--json"))
    assert page["used"] == {"image": "picture", "caption": "text", "label": "kind"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("describe", "model", "ada/folder"), "ada/folder is a dataset, not a model"),
        (("describe", "model", "ada/tiny-sd", "--dataset_config_name", "x"), "no configurations"),
        (("search", "models", "x", "--limit", "many"), "argument --limit: invalid int value"),
        (("search", "people"), "invalid choice: 'people'"),
        (("describe", "model"), "the following arguments are required: id"),
    ],
)
def test_refusals(hub: HubServer, home: Path, words: tuple[str, ...], expected: str) -> None:
    assert expected in run(hub, home, *words, expect=2)
