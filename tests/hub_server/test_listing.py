"""What lists and pages say of a repo beside its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import HfHubHTTPError

from tests.hub_server import HubServer
from tests.hub_server.asking import Client
from tests.hub_server.blobs import Blob
from tests.hub_server.commit import Commit
from tests.hub_server.filling import write
from tests.hub_server.weights import parameter_count


def weights(**shapes: list[int]) -> bytes:
    """The header of a safetensors file, which is all of it that is ever looked at here."""
    tensors: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for index, (dtype, shape) in enumerate(shapes.items()):
        tensors[f"tensor{index}"] = {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]}
    header = json.dumps(tensors).encode()
    return len(header).to_bytes(8, "little") + header


def test_parameters_and_card(hub: HubServer, client: Client, tmp_path: Path) -> None:
    card = "---\nlicense: mit\nbase_model: ada/base\n---\n"
    index = json.dumps({"_class_name": "StableDiffusionPipeline"})
    folder = write(tmp_path / "m", {"README.md": card, "model_index.json": index})
    (folder / "model.safetensors").write_bytes(weights(F32=[2, 3], BF16=[5], I64=[]))
    hub.add_repo("model", "ada/m", folder)
    hub.add_repo("model", "ada/other", write(tmp_path / "other", {"config.json": "{}"}))
    eve = client("hf_eve")
    fields: list[Any] = ["safetensors", "cardData", "library_name", "tags"]
    found = list(eve.list_models(filter="diffusers:StableDiffusionPipeline", expand=fields))
    assert [model.id for model in found] == ["ada/m"]
    counts = {"F32": 6, "BF16": 5, "I64": 1}
    for model in (found[0], eve.model_info("ada/m")):
        assert model.safetensors is not None
        assert model.safetensors.parameters == counts
        assert model.safetensors.total == 12
        assert model.card_data is not None
        assert model.card_data.base_model == "ada/base"
        assert model.library_name == "diffusers"
    stored = sum(file.stat().st_size for file in folder.iterdir())
    assert eve.model_info("ada/m", expand=["usedStorage"]).used_storage == stored
    with pytest.raises(HfHubHTTPError, match="cannot be expanded by usedStorage"):
        list(eve.list_models(expand=["safetensors", "usedStorage"]))
    assert eve.model_info("ada/other").safetensors is None
    assert [model.id for model in eve.list_models(search="OTH", expand=["safetensors"])] == [
        "ada/other"
    ]


@pytest.mark.parametrize(
    "data", [b"", b"weights", (2).to_bytes(8, "little") + b"[]", weights(F32=[1])[:-1]]
)
def test_broken_weights_have_no_parameters(data: bytes) -> None:
    assert parameter_count(Commit({"model.safetensors": Blob(data, True)})) is None


def test_weights_elsewhere_are_not_counted() -> None:
    assert parameter_count(Commit({"unet/model.safetensors": Blob(weights(F32=[1]), True)})) is None
