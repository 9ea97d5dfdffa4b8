"""What the Hub holds, problems beside fields, and empty places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memshield.data.columns import Columns
from memshield.errors import UserError, UserErrors
from memshield.hub.catalog.dataset_description import (
    DatasetColumn,
    DatasetDescription,
    DatasetSplit,
)
from memshield.hub.catalog.license import License
from memshield.hub.catalog.model import ModelDescription
from memshield.hub.catalog.preview import Preview, Shown
from memshield.hub.catalog.results import ModelFound
from memshield.ui.new.descriptions import dataset_view, model_view, preview_view
from memshield.ui.theme import CSS
from memshield.ui.widgets.problems import NO_AUDIT, empty_view, problem_view, problems_view
from tests.ui.made_runs import HOSTILE, picture
from tests.ui.markup import shows_hostile, text_of


def model_found(**changes: Any) -> ModelFound:
    values: dict[str, Any] = {
        "id": "lab/tiny-sd", "family": "stable_diffusion", "parameters": 860_000_000,
        "pipeline_class": "StableDiffusionPipeline", "license": License("mit"), "gated": False,
        "private": False, "downloads": 12_345, "likes": 3, "pipeline_tag": "text-to-image",
        "last_modified": None,
    }  # fmt: skip
    return ModelFound(**{**values, **changes})


def model(**changes: Any) -> ModelDescription:
    values: dict[str, Any] = {
        "id": "lab/tiny-sd", "sha": "0123456789abcdef", "page": "https://huggingface.co/lab/tiny-sd",
        "pipeline_class": "StableDiffusionPipeline", "family": "stable_diffusion",
        "training": "lora", "resolution": 512, "parameters": 859_520_964,
        "download_bytes": 5_200_000_000, "license": License("openrail"), "gated": False,
        "has_access": True, "private": False, "downloads": 100, "likes": 2,
    }  # fmt: skip
    return ModelDescription(**{**values, **changes})


def dataset(**changes: Any) -> DatasetDescription:
    values: dict[str, Any] = {
        "id": "ada/pictures", "sha": "0123456789abcdef",
        "page": "https://huggingface.co/datasets/ada/pictures", "configs": ("default", "small"),
        "config": "default", "format": "parquet",
        "splits": (DatasetSplit("train", 5000, 12_000_000),),
        "columns": (DatasetColumn("image", "image", "Image"),
                    DatasetColumn("text", "text", "string"),
                    DatasetColumn("label", "class label", "ClassLabel", tuple("abcdefghij"))),
        "used": Columns("image", "text", None), "unused": None, "license": License("cc0-1.0"),
        "gated": False, "has_access": True, "private": False, "downloads": 9, "likes": 1,
    }  # fmt: skip
    return DatasetDescription(**{**values, **changes})


def test_a_model_described() -> None:
    text = text_of(model_view(model()))
    for words in ("a LoRA", "512 px", "860 M", "5.2 GB", "openrail", "0123456789ab"):
        assert words in text
    outside = model(has_access=False, gated=True, resolution=None, parameters=None,
                    download_bytes=None)  # fmt: skip
    assert "Accept them on" in text_of(model_view(outside))
    assert "its terms" not in text
    assert "no commercial use" in text_of(model_view(model(license=License("cc-by-nc-4.0"))))


def test_a_dataset_described() -> None:
    text = text_of(dataset_view(dataset()))
    for words in ("default (others: small)", "train: 5,000 rows, 12.0 MB", "3 columns", "cc0-1.0"):
        assert words in text
    bare = dataset(used=None, unused="it has no column of pictures", columns=(), configs=())
    assert "Cannot be trained on yet: it has no column of pictures." in text_of(dataset_view(bare))


def test_first_pictures_and_why_others_are_not_shown() -> None:
    shown = (Shown(0, picture(1), "a cat"), Shown(1, picture(2), None))
    html = preview_view(Preview(shown, tuple(f"row {i}: broken" for i in range(2, 20))))
    text = text_of(html)
    assert html.count("<img") == 2
    assert "a cat" in text
    assert "18 rows cannot be shown" in text
    assert "And 8 more" in text
    assert "No pictures" in text_of(preview_view(Preview((), ())))


def test_problems_beside_their_fields() -> None:
    errors = UserErrors([UserError("rank", "is 0", "Give 1 or more."), UserError("seed", "is x")])
    text = text_of(problems_view(errors, {"rank": "Rank of the LoRA"}))
    assert "2 problems to fix" in text
    assert "Rank of the LoRA : is 0 Give 1 or more." in text
    assert "is 0" in text_of(problem_view(errors, "rank"))
    assert "is x" not in problem_view(errors, "rank")
    assert problem_view(errors, "resolution") == problems_view([]) == ""


def test_an_empty_place() -> None:
    assert "Not audited yet" in text_of(empty_view(*NO_AUDIT))


def test_hostile_names_are_shown_as_text() -> None:
    license = License("other", HOSTILE, "javascript:alert(1)")
    column = DatasetColumn(HOSTILE, "other", HOSTILE, (HOSTILE,))
    for html in (
        model_view(model(id=HOSTILE, page="javascript:alert(1)", license=license)),
        dataset_view(dataset(id=HOSTILE, columns=(column,), unused=HOSTILE, used=None)),
        preview_view(Preview((Shown(0, picture(1), HOSTILE),), (HOSTILE,))),
        problems_view(UserError(HOSTILE, HOSTILE, HOSTILE)),
        problem_view(UserError("rank", HOSTILE), "rank"),
        empty_view(HOSTILE, HOSTILE),
    ):
        assert shows_hostile(html)


def test_the_style_asks_for_nothing() -> None:
    assert "url(" not in CSS
    assert "@import" not in CSS
    assert "prefers-reduced-motion" in CSS


@pytest.mark.process
def test_no_view_needs_torch_or_gradio() -> None:
    import subprocess
    import sys

    root = Path(__file__).parents[3]
    views = [
        path.relative_to(root).with_suffix("")
        for path in sorted((root / "memshield" / "ui").rglob("*.py"))
        if "memshield.ui.widgets.templates import" in path.read_text(encoding="utf-8")
    ]
    names = [".".join(path.parts) for path in views]
    assert len(names) > 15
    code = f"import sys, {', '.join(names)}; print({{'torch', 'gradio'}} & set(sys.modules))"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=root,
    )  # fmt: skip
    assert said.stdout == "set()\n"
