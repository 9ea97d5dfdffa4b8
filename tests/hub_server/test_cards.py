"""Cards: what is read from them, and what is wrong with them."""

from __future__ import annotations

import pytest
from huggingface_hub import ModelCard

from tests.hub_server import HubServer
from tests.hub_server.asking import Client, ask
from tests.hub_server.blobs import Blob
from tests.hub_server.card import read_card, strings
from tests.hub_server.card_rules import NO_METADATA, Verdict, check_card
from tests.hub_server.commit import Commit
from tests.hub_server.filling import CARD


def test_card_keeps_scalars_and_flat_lists() -> None:
    card = read_card(Commit({"README.md": Blob(CARD.encode(), False)}))
    assert card == {
        "license": "mit",
        "tags": ["toy", "made-by-code"],
        "datasets": ["ada/rows", "ada/pictures"],
        "widget": [{"text": "not a flat list"}],
    }


@pytest.mark.parametrize("text", ["", "# Just a heading", "---\nlicense: mit\n"])
def test_card_needs_a_closed_block(text: str) -> None:
    assert read_card(Commit({"README.md": Blob(text.encode(), False)})) == {}


def test_dates_become_strings() -> None:
    text = "---\ndate: 2024-01-02\nlanguage: en\n---\n"
    card = read_card(Commit({"README.md": Blob(text.encode(), False)}))
    assert card == {"date": "2024-01-02", "language": "en"}
    assert strings(card, "language") == ["en"]
    assert strings(card, "nothing") == []


RESULT = """
  - task:
      type: unconditional-image-generation
    dataset: {type: image, name: Pictures}
    metrics:
    - {type: fid, value: 1.5}
"""


@pytest.mark.parametrize(
    "matter",
    [
        "license: mit",
        "license: [mit, other]",
        "license: other\nlicense_name: my-own\nlicense_link: LICENSE",
        "license: openrail++\ntags: [a, b]\nbase_model: ada/tiny\ndatasets:\n- ada/rows",
        f"model-index:\n- name: tiny\n  results:{RESULT}",
        "anything: {else: 1}",
    ],
)
def test_good_cards(matter: str) -> None:
    assert check_card(f"---\n{matter}\n---\n# Text\n") == Verdict([], [])


@pytest.mark.parametrize(
    ("matter", "words"),
    [
        ("license: my own", '"license" must be one of'),
        ("license: 3", '"license" must be a string or a list'),
        ("license: [mit, mine]", "got 'mine'"),
        ("license: other\nlicense_name: [a]", '"license_name" must be a string'),
        ("tags: {a: b}", '"tags" must be'),
        ("tags: [1.5]", '"tags" must be'),
        ("language: no", '"language" must be'),
        ("base_model: 1", '"base_model" must be'),
        ("datasets: [{name: a}]", '"datasets" must be'),
        ("pipeline_tag: [a]", '"pipeline_tag" must be a string'),
        ("a: b: c", "invalid YAML"),
        ("- a", "must be a mapping"),
        ("model-index: {name: tiny}", '"model-index" must be a list'),
        ("model-index:\n- name: tiny", '.results" must be a list'),
        ("model-index:\n- name: tiny\n  results: [fid]", '.results[0]" must be a mapping'),
        (f"model-index:\n- name: 1\n  results:{RESULT}", '"model-index[0].name" must be'),
        (
            f"model-index:\n- name: tiny\n  results:{RESULT.replace('fid, value', 'fid, worth')}",
            "a type and a value",
        ),
        (
            f"model-index:\n- name: tiny\n  results:{RESULT.replace('name: Pictures', 'a: b')}",
            "a type and a name",
        ),
        (
            f"model-index:\n- name: tiny\n  results:{RESULT.replace('type: uncond', 'x: uncond')}",
            '.task.type" must be',
        ),
    ],
)
def test_bad_cards(matter: str, words: str) -> None:
    verdict = check_card(f"---\n{matter}\n---\n# Text\n")
    assert len(verdict.errors) == 1
    assert words in verdict.errors[0]


@pytest.mark.parametrize("text", ["# Text", "---\n---\n# Text", "---\nlicense: mit\n"])
def test_cards_without_metadata(text: str) -> None:
    assert check_card(text) == Verdict([], [NO_METADATA])


def test_the_clients_own_check(hub: HubServer, client: Client) -> None:
    connected = client("hf_ada")
    assert connected.endpoint == hub.endpoint
    ModelCard("---\nlicense: mit\n---\n").validate()
    with pytest.raises(ValueError, match="must be one of"):
        ModelCard("---\nlicense: mine\n---\n").validate()
    assert ask(hub.endpoint, "POST", "/api/validate-yaml", body={"content": 1}).status == 400
