"""Text encoders are never on the device together with the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from memshield.data.encodings import LiveEncoder
from memshield.families.turns import DeviceTurns
from tests.families import loaded
from tests.families.test_memory import gradients


class Recorded(DeviceTurns):
    """Notes who was asked for, and what lies where afterwards."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.asked: list[str] = []

    def take(self, who: Any) -> None:
        super().take(who)
        self.asked.append(who)


class Part(nn.Module):
    """Knows where it was put."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = torch.device(place)

    def to(self, device: Any) -> Any:  # type: ignore[override]
        self.place = torch.device(device)
        return self


def test_one_of_the_two_is_on_the_device() -> None:
    network, first, second = Part("cuda"), Part("cpu"), Part("cpu")
    turns = DeviceTurns(network, [first, second], torch.device("cuda"))

    def places() -> list[str]:
        return [part.place.type for part in (network, first, second)]

    turns.take("network")
    assert places() == ["cuda", "cpu", "cpu"]
    turns.take("text")
    assert places() == ["cpu", "cuda", "cuda"]
    turns.take("network")
    assert places() == ["cuda", "cpu", "cpu"]


@pytest.mark.parametrize("family", ["tiny_sd", "tiny_sdxl"])
def test_a_family_asks_for_the_turn_of_what_it_uses(
    request: pytest.FixtureRequest, captioned: Path, family: str
) -> None:
    model: Any = loaded(request.getfixturevalue(family), captioned)
    text = [part for name, part in model._parts.items() if name.startswith("text_encoder")]
    model._turns = turns = Recorded(model.network, text, model.device)
    assert turns._parts["text"] == text and len(text) == (2 if "xl" in family else 1)
    gradients(model)
    assert turns.asked[0] == "text" and turns.asked[-1] == "network"
    model.release_encoders()
    turns.asked.clear()
    encoded: Any = object()
    LiveEncoder(model, ["a"], encoded)
    assert turns.asked == ["network"], "moments and averages are made where it is"
    turns.asked.clear()
    model.sample([1, 2], ["a", "b"], 1)
    assert turns.asked[0] == "text" and turns.asked[-1] == "network"
    turns.asked.clear()
    model.sample([3], ["b"], 1)
    assert "text" not in turns.asked, "its prompt is known"
