"""Flow-matching models on the Hub: found, described, trained, audited, published and pulled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from memshield.hub.catalog.model import describe_model
from memshield.hub.catalog.search import search_models
from memshield.hub.pull import pull
from tests import tiny_flow
from tests.audit.runs import QUICK, command
from tests.bucket_twin import BUCKETS, SHAPES, shaped_folder
from tests.hub.conftest import CARD, TOKEN, FakeClock, lora_settings
from tests.hub.publishing import publish, require_complete
from tests.hub_server import HubServer
from tests.trained_runs import train

FAMILIES: list[tuple[str, Callable[[Path], Path], str]] = [
    ("stable_diffusion_3", tiny_flow.sd3_pipeline, "StableDiffusion3Pipeline"),
    ("flux", tiny_flow.flux_pipeline, "FluxPipeline"),
    ("z_image", tiny_flow.z_image_pipeline, "ZImagePipeline"),
    ("qwen_image", tiny_flow.qwen_image_pipeline, "QwenImagePipeline"),
    ("flux2_klein", tiny_flow.flux2_klein_pipeline, "Flux2KleinPipeline"),
    ("krea2", tiny_flow.krea2_pipeline, "Krea2Pipeline"),
]
KINDS = [FAMILIES[0], *(pytest.param(*kind, marks=pytest.mark.slow) for kind in FAMILIES[1:])]


@pytest.mark.parametrize("training", ["lora", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("family", "build", "pipeline_class"), KINDS)
def test_a_model_from_its_search_to_its_pull(
    hub: HubServer,
    tmp_path: Path,
    captions: Path,
    clock: FakeClock,
    family: str,
    build: Callable[[Path], Path],
    pipeline_class: str,
    training: str,
) -> None:
    base = build(tmp_path / "base")
    (base / "README.md").write_text(CARD.format(license="apache-2.0"))
    hub.add_repo("model", "lab/tiny-flow", base)
    (found,) = [one for one in search_models("flow", token=TOKEN).items if one.family == family]
    assert (found.id, found.pipeline_class) == ("lab/tiny-flow", pipeline_class)
    described = describe_model("lab/tiny-flow", token=TOKEN)
    assert (described.family, described.training) == (family, "lora")
    assert (described.parameters or 0) > 5000

    settings = lora_settings(
        tmp_path / "run", pretrained_model_name_or_path="lab/tiny-flow", training=training,
        resolution=16, max_train_steps=4, train_data_dir=captions,
        # Their templates alone have some 200 letters.
        max_sequence_length=256 if family in ("qwen_image", "krea2") else 24,
    )  # fmt: skip
    del settings["dataset_name"]
    run = train(**settings)
    # Those of every family run elsewhere; here one stands for the card that tells of them.
    attacks = [] if family == "stable_diffusion_3" else ["--no_attacks"]
    command("audit", run.path, *QUICK, *attacks)
    published = publish(run, clock, hub_model_id="ada/flow", hub_license=None)
    require_complete(hub, published)
    card = ModelCard.load("ada/flow", token=TOKEN).data.to_dict()
    assert card["pipeline_tag"] == "text-to-image"
    assert card["base_model"] == "lab/tiny-flow"
    assert card["base_model_relation"] == ("adapter" if training == "lora" else "finetune")

    argument = '"a prompt"' if family != "flux2_klein" else 'prompt="a prompt"'
    length = settings["max_sequence_length"]
    code = f"pipeline({argument}, max_sequence_length={length})"
    assert code in ModelCard.load("ada/flow", token=TOKEN).text
    pipeline = pull("ada/flow", token=TOKEN)
    assert type(pipeline).__name__ == pipeline_class
    pipeline.set_progress_bar_config(disable=True)
    (picture,) = pipeline(
        prompt="a cat", num_inference_steps=2, height=16, width=16, output_type="np",
        generator=torch.Generator().manual_seed(0),
    ).images  # fmt: skip
    assert np.isfinite(picture).all()


@pytest.mark.slow
def test_a_model_of_several_shapes_from_its_training_to_its_pull(
    hub: HubServer, tmp_path: Path, clock: FakeClock
) -> None:
    base = tiny_flow.sd3_pipeline(tmp_path / "base")
    (base / "README.md").write_text(CARD.format(license="apache-2.0"))
    hub.add_repo("model", "lab/shapes-base", base)
    settings = lora_settings(
        tmp_path / "run", pretrained_model_name_or_path="lab/shapes-base", resolution=16,
        max_train_steps=8, train_batch_size=2, max_sequence_length=24, held_out_fraction=0.3,
        train_data_dir=shaped_folder(tmp_path / "set", SHAPES * 5), aspect_ratio_buckets=BUCKETS,
    )  # fmt: skip
    del settings["dataset_name"]
    run = train(**settings)
    command("audit", run.path, *QUICK)
    published = publish(run, clock, hub_model_id="ada/shapes", hub_license=None)
    require_complete(hub, published)
    text = ModelCard.load("ada/shapes", token=TOKEN).text
    assert "squares of 16 px from their middle" in text
    for size in BUCKETS.split(";"):
        assert size in text

    pipeline = pull("ada/shapes", token=TOKEN)
    pipeline.set_progress_bar_config(disable=True)
    (picture,) = pipeline(
        prompt="a cat", num_inference_steps=2, height=32, width=16, output_type="np",
        generator=torch.Generator().manual_seed(0),
    ).images  # fmt: skip
    assert picture.shape == (32, 16, 3)
    assert np.isfinite(picture).all()
