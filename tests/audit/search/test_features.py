from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memshield.audit.search.features import (
    ClipScore,
    PrincipalComponents,
    ScriptedFeatures,
    open_features,
    rows_of,
    unit,
)
from memshield.errors import UserError
from tests.audit.runs import command, report_in, save_pictures
from tests.tiny import pictures, sd_components

CPU = torch.device("cpu")
PREPARATION = {
    "size": {"shortest_edge": 28},
    "crop_size": {"height": 28, "width": 28},
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.25],
}


def some(count: int, size: int = 16, channels: int = 3) -> Any:
    found = np.stack([np.atleast_3d(one) for one in pictures(count, size, channels)])
    return np.ascontiguousarray(found.transpose(0, 3, 1, 2))


def dinov2(folder: Path) -> Path:
    """A small DINOv2 with random weights."""
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    torch.manual_seed(0)
    Dinov2Model(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPARATION))
    return folder


def clip(folder: Path) -> Path:
    """A small CLIP with random weights."""
    from transformers import CLIPConfig, CLIPModel

    parts = sd_components()
    words = parts["tokenizer"]
    text = {**parts["text_encoder"].config.to_dict(), "projection_dim": 8}
    vision = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "projection_dim": 8,
    }  # fmt: skip
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPARATION))
    return folder


def test_components_of_pixels_keep_what_differs() -> None:
    training = some(200)
    space = PrincipalComponents(training)
    rows = rows_of(training, space)
    assert rows.shape == (200, 64)
    assert rows.dtype == np.float32
    assert "64 principal components" in space.name
    # 4 x 4 x 3 numbers made these pictures: 48 directions hold all that differs.
    flat = training.reshape(200, -1) / 255
    lost = np.square(flat - flat.mean(0)).sum() - np.square(rows - rows.mean(0)).sum()
    assert abs(lost) < 0.02 * np.square(flat - flat.mean(0)).sum()


def test_components_of_large_grey_and_few_pictures() -> None:
    assert rows_of(some(20, 64), PrincipalComponents(some(20, 64))).shape == (20, 19)
    assert rows_of(some(20, 8, 1), PrincipalComponents(some(20, 8, 1))).shape == (20, 19)


@pytest.mark.parametrize(("make", "width"), [(dinov2, 16), (clip, 8)])
@pytest.mark.parametrize("channels", [1, 3])
def test_models_of_transformers_give_a_row_a_picture(
    tmp_path: Path, make: Callable[[Path], Path], width: int, channels: int
) -> None:
    space = open_features(str(make(tmp_path / "model")), CPU)
    many = some(70, 40, channels)
    rows = rows_of(many, space)
    assert rows.shape == (70, width)
    assert np.allclose(rows[64:], rows_of(many[64:], space), atol=1e-5)
    assert np.allclose(np.linalg.norm(unit(rows), axis=1), 1, atol=1e-5)
    assert len(np.unique(rows.round(4), axis=0)) > 60


def test_a_clip_score_is_that_of_its_model(tmp_path: Path) -> None:
    from transformers import CLIPModel, CLIPTokenizer

    folder = clip(tmp_path / "clip")
    score = ClipScore(str(folder), CPU)
    picture = torch.from_numpy(some(3, 28))
    found = score(picture, ["picture number 1", "a", ""])
    pixels = (picture.float() / 255 - 0.5) / 0.25
    model: Any = CLIPModel.from_pretrained(folder).eval()
    words = CLIPTokenizer.from_pretrained(folder)(
        ["picture number 1", "a", ""], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        expected = model(pixel_values=pixels, **words)
    cosine = expected.logits_per_image.diagonal() / model.logit_scale.exp()
    assert torch.allclose(found, 100 * cosine.clamp(min=0), atol=1e-3)


def test_weights_that_run_code_or_are_of_another_kind_are_refused(tmp_path: Path) -> None:
    folder = dinov2(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="pickle"):
        open_features(str(folder), CPU)
    other = dinov2(tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(UserError, match="'bert'"):
        open_features(str(other), CPU)
    with pytest.raises(UserError, match=r"cannot be asked|offline|cache"):
        open_features("dinov2", CPU)


def test_a_script_runs_only_with_its_digest(tmp_path: Path) -> None:
    class Mean(torch.nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return pictures.flatten(2).mean(2) + 2

    file = tmp_path / "sscd.torchscript.pt"
    torch.jit.script(Mean()).save(str(file))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    rows = rows_of(some(5, 32), ScriptedFeatures(file, digest, CPU))
    assert rows.shape == (5, 3)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    with pytest.raises(UserError, match="digest"):
        ScriptedFeatures(file, "0" * 64, CPU)
    with pytest.raises(UserError, match="no file"):
        ScriptedFeatures(tmp_path / "no.pt", digest, CPU)


def test_an_audit_names_the_spaces_it_had_and_those_it_had_not(tmp_path: Path) -> None:
    training = save_pictures(some(80, 16), tmp_path / "training")
    fresh = save_pictures(some(160, 16)[80:], tmp_path / "fresh")
    model = dinov2(tmp_path / "model")
    command(
        "audit", "--images", training, "--train_data_dir", training, "--held_out_data_dir", fresh,
        "--features", f"{model},clip", "--output_dir", tmp_path / "out",
    )  # fmt: skip
    report = report_in(tmp_path / "out")
    by_space = {one.space: one for one in report.memorization}
    (name,) = [space for space in by_space if space != "pixels"]
    assert by_space[name].share == 1.0
    assert {quality.space for quality in report.quality} >= {name}
    assert report.missing[0].measure == "features: clip"
    assert str(tmp_path) not in (tmp_path / "out" / "report.json").read_text()
