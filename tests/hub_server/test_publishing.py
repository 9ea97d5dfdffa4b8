"""Publishing with the real client, unmodified, in a child process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub_server import HubServer
from tests.hub_server.asking import since, visit

pytestmark = pytest.mark.process


def test_a_folder_a_card_and_a_tag(hub: HubServer, tmp_path: Path) -> None:
    seen = visit(hub, "publish", tmp_path, token="hf_ada")
    assert seen["url"] == f"{hub.endpoint}/ada/new"
    assert seen["again"]
    assert seen["repo"] == "ada/new"
    assert seen["license"] == "mit"
    assert seen["weights"] == "weights"
    assert len(seen["titles"]) == 3
    assert seen["titles"][-1] == "initial commit"
    assert seen["tagged"] == hub.head("model", "ada/new") != seen["uploaded"]
    assert hub.tags("model", "ada/new") == {"v1": seen["tagged"]}
    assert hub.is_private("model", "ada/new")
    files = hub.repo_files("model", "ada/new")
    assert files["unet/weights.safetensors"] == b"weights"
    assert files.keys() == {
        ".gitattributes",
        "README.md",
        "config.json",
        "unet/weights.safetensors",
    }
    # Content goes to its own origin by links that need no token, everything else with one.
    to_content = since(hub, 0, "content")
    assert [request.method for request in to_content] == ["PUT", "GET"]
    assert to_content[0].body_size == len(b"weights")
    assert not any("authorization" in request.headers for request in to_content)
    for request in since(hub, 0, "hub"):
        is_signed = request.headers.get("authorization") == "Bearer hf_ada"
        # A card's own check is sent without a token.
        assert is_signed or request.path == "/api/validate-yaml"
