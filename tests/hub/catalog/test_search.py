"""Searching the loopback Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memshield.families.kinds import PIPELINES
from tests.hub.catalog import ADA, EVE, Visit, ask, words
from tests.hub_server import HubServer

pytestmark = pytest.mark.process

WANTED = ("lab/gated-sd", "ada/tiny-ddpm", "ada/tiny-sd", "bob/tiny-ddim")


@pytest.fixture(scope="module")
def signed_out(hub: HubServer, home: Path) -> Visit:
    return ask(
        hub,
        home,
        ("search_models", {"text": ""}),
        ("search_models", {"text": "TINY", "limit": 2}),
        ("search_models", {"text": "tiny", "limit": 2, "offset": 1}),
        ("search_models", {"text": "https://huggingface.co/ada/tiny-sd"}),
        ("search_models", {"text": "no such thing"}),
        ("search_datasets", {"text": ""}),
        ("search_datasets", {"text": "table"}),
        ("search_datasets", {"text": "", "limit": 1, "offset": 1}),
    )


def ids(answer: Any) -> list[str]:
    return [item["id"] for item in answer["items"]]


def test_models_are_of_supported_classes_the_most_downloaded_first(signed_out: Visit) -> None:
    found = signed_out.answers[0]
    downloads = [item["downloads"] for item in found["items"]]
    assert downloads == sorted(downloads, reverse=True)
    assert ids(found)[:4] == list(WANTED)
    assert {item["pipeline_class"] for item in found["items"]} <= PIPELINES.keys()
    assert not {"ada/chroma", "ada/custom-pipeline", "ada/secret-sd"} & set(ids(found))
    assert not found["more"]


def test_what_is_told_of_a_model(signed_out: Visit) -> None:
    gated, ddpm, sd, _ = signed_out.answers[0]["items"][:4]
    assert (ddpm["family"], ddpm["pipeline_class"]) == ("unconditional", "DDPMPipeline")
    assert ddpm["license"]["id"] == "apache-2.0"
    assert ddpm["parameters"] is None
    assert sd["license"] == {
        "id": "other",
        "name": "tiny-license",
        "link": "https://example.org/tiny",
    }
    assert (sd["pipeline_tag"], sd["likes"]) == ("text-to-image", 3)
    assert sd["last_modified"].startswith("2024-01-01T")
    assert (gated["gated"], sd["gated"], sd["private"]) == (True, False, False)


def test_pages(signed_out: Visit) -> None:
    first, second, pasted, none = signed_out.answers[1:5]
    assert (ids(first), first["offset"], first["more"]) == (list(WANTED[1:3]), 0, True)
    assert (ids(second), second["offset"], second["more"]) == (list(WANTED[2:]), 1, False)
    assert ids(pasted) == ["ada/tiny-sd"]
    assert none == {"items": [], "offset": 0, "more": False}


def test_datasets_of_pictures(signed_out: Visit) -> None:
    everything, table, second = signed_out.answers[5:]
    assert ids(everything)[:3] == ["ada/table", "ada/folder", "lab/gated-folder"]
    assert "ada/words" not in ids(everything)
    assert ids(table) == ["ada/table"]
    assert ids(second) == ["ada/folder"] and second["more"]
    found = second["items"][0]
    assert found["license"]["id"] == "mit"
    assert (found["size_category"], found["rows"]) == ("n<1K", None)
    assert (found["downloads"], found["likes"], found["gated"]) == (9, 1, False)


def test_a_signed_out_visitor_never_uses_the_hosts_token(signed_out: Visit) -> None:
    assert signed_out.to_hub
    assert not [request for request in signed_out.requests if "authorization" in request.headers]


def test_tokens(hub: HubServer, home: Path) -> None:
    visit = ask(
        hub,
        home,
        ("search_models", {"text": "secret", "token": ADA}),
        ("search_models", {"text": "secret", "token": EVE}),
        ("search_datasets", {"text": "secret", "token": None}),
        ("search_models", {"text": "", "token": "hf_nobody"}),
        ("search_models", {"text": "", "token": "hf_no\nbody"}),
        ("search_models", {"text": "", "limit": 0}),
        ("search_models", {"text": "", "limit": 101}),
        ("search_datasets", {"text": "", "offset": -1}),
        ("search_datasets", {"text": "x" * 300}),
        ("search_datasets", {"text": "a\x00b"}),
    )
    own, strangers, hosts, unknown, broken, *bad = visit.answers
    assert ids(own) == ["ada/secret-sd"]
    assert own["items"][0]["private"]
    assert ids(strangers) == []
    assert ids(hosts) == ["ada/secret-folder"]
    assert "the Hub does not know this token" in words(unknown)
    assert "HF_TOKEN" in words(broken)
    fields = [answer["error"]["field"] for answer in bad]
    assert fields == ["limit", "limit", "offset", "search", "search"]
    sent = {request.headers.get("authorization") for request in visit.requests}
    assert sent == {f"Bearer {ADA}", f"Bearer {EVE}", "Bearer hf_nobody"}


def test_lists_are_read_only_as_far_as_needed(tmp_path: Path) -> None:
    classes = {name: tmp_path / name for name in PIPELINES}
    with HubServer(page_size=2) as hub:
        hub.add_user("ada", ADA)
        for name, folder in classes.items():
            folder.mkdir()
            (folder / "model_index.json").write_text(json.dumps({"_class_name": name}))
        popular, *others = classes
        for i in range(9):
            hub.add_repo("model", f"ada/popular{i}", classes[popular], downloads=100 - i)
        for i, name in enumerate(others):
            for j in range(9):
                hub.add_repo("model", f"ada/other{i}{j}", classes[name], downloads=j)
        visit = ask(hub, tmp_path / "home", ("search_models", {"text": "", "limit": 3}))
    assert ids(visit.answers[0]) == ["ada/popular0", "ada/popular1", "ada/popular2"]
    # A page of every list, and one more of the list that all of them are from.
    assert len(visit.requests) == len(PIPELINES) + 1


def test_without_a_network(hub: HubServer, home: Path) -> None:
    visit = ask(
        hub,
        home,
        ("search_models", {"text": ""}),
        ("search_datasets", {"text": ""}),
        HF_HUB_OFFLINE="1",
    )
    assert all("HF_HUB_OFFLINE" in words(answer) for answer in visit.answers)
    assert not visit.requests
