"""Cards: what is read from them, and what is wrong with them."""

from __future__ import annotations

import pytest

from tests.hub_server.blobs import Blob
from tests.hub_server.card import read_card
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
