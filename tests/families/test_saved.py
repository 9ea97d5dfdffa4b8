"""Saved weights come back into the network that wrote them, and into no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from memshield.errors import UserError
from memshield.families.base import Family
from memshield.families.pipelines import open_pipeline
from memshield.families.saved import load_weights
from tests.families import loaded
from tests.tiny import ddpm_pipeline

KINDS = ["pixels", "tiny_sd full", "tiny_sd lora", "tiny_sdxl full", "tiny_sdxl lora"]


@pytest.fixture(params=KINDS)
def family(request: pytest.FixtureRequest, tmp_path: Path, captioned: Path) -> Family:
    name, _, training = request.param.partition(" ")
    if name == "pixels":
        return loaded(ddpm_pipeline(tmp_path / "base", channels=3), captioned)
    settings: dict[str, Any] = {"rank": 2, "lora_alpha": 6.0} if training == "lora" else {}
    return loaded(request.getfixturevalue(name), captioned, training=training, **settings)


def fill(family: Family, seed: int) -> None:
    """Other values in all that is trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in family.trainable().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))


def values(family: Family) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in family.network.state_dict().items()}


def saved(family: Family, folder: Path) -> Path:
    folder.mkdir()
    family.save(folder)
    return folder


def test_saved_weights_come_back(family: Family, tmp_path: Path) -> None:
    fill(family, 1)
    before = values(family)
    folder = saved(family, tmp_path / "saved")
    fill(family, 2)
    trained = family.trainable()
    assert not any(torch.equal(trained[name], before[name]) for name in trained)
    family.load_saved(folder)
    for name, tensor in values(family).items():
        if family.config.training == "lora":
            # Multiplied by the scale and divided again.
            assert torch.allclose(tensor, before[name], rtol=1e-6, atol=0), name
        else:
            assert torch.equal(tensor, before[name]), name


def test_an_empty_folder_is_refused(family: Family, tmp_path: Path) -> None:
    before = values(family)
    with pytest.raises(UserError, match="holds no weights of this run's model") as caught:
        family.load_saved(tmp_path)
    assert caught.value.field.startswith(str(tmp_path))
    assert all(torch.equal(tensor, before[name]) for name, tensor in values(family).items())


def test_another_shape_is_refused(tmp_path: Path, tiny_sd: Path, captioned: Path) -> None:
    lora = saved(loaded(tiny_sd, captioned, rank=2), tmp_path / "lora")
    pixels = loaded(ddpm_pipeline(tmp_path / "colour", channels=3), captioned)
    grey = saved(loaded(ddpm_pipeline(tmp_path / "grey"), captioned), tmp_path / "saved-grey")
    for family, folder in ((loaded(tiny_sd, captioned, rank=3), lora), (pixels, grey)):
        with pytest.raises(UserError, match="holds no weights"):
            family.load_saved(folder)


def test_a_missing_tensor_is_refused(tmp_path: Path, captioned: Path) -> None:
    family = loaded(ddpm_pipeline(tmp_path / "base", channels=3), captioned)
    file = saved(family, tmp_path / "saved") / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["conv_in.bias"]
    save_file(tensors, file)
    fill(family, 1)
    before = values(family)
    with pytest.raises(UserError, match="holds no weights"):
        family.load_saved(tmp_path / "saved")
    assert all(torch.equal(tensor, before[name]) for name, tensor in values(family).items())


def test_weights_in_several_files(tmp_path: Path, captioned: Path) -> None:
    """As SDXL's UNet is saved, which is larger than one file may be."""
    network: Any = loaded(ddpm_pipeline(tmp_path / "base", channels=3), captioned).network
    network.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    load_weights(network, tmp_path / "parts")
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())


def test_a_lora_opens_on_a_base_below_the_home_folder(
    tiny_sd: Path, captioned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(loaded(tiny_sd, captioned, training="lora"), tmp_path / "saved")
    monkeypatch.setenv("HOME", str(tiny_sd.parent))
    base = f"~/{tiny_sd.name}"
    pipeline = open_pipeline(folder, base, f"{base}/vae", local_files_only=True)
    assert pipeline.get_active_adapters()
