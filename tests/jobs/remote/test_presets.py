"""A preset that is submitted: what it sets reaches the container, if it fits the hardware."""

from __future__ import annotations

from pathlib import Path

import pytest

from memshield.__main__ import main
from memshield.config.file import make_config, read_yaml
from tests.hub_server import HubServer
from tests.jobs.remote.runs import STARTED
from tests.tiny import image_folder
from tests.trained_runs import flags
from tests.ui.repos import TEXT, model

pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    ("preset", "hardware", "words"),
    [
        ("24gb", "t4-small", "24gb is more than t4-small has: NVIDIA T4, 16 GB\n  Choose 16gb"),
        ("12gb", "cpu-basic", "it is for a GPU, and cpu-basic has 2 CPU cores"),
        ("8gb", "t4-small", "unknown preset '8gb'"),
    ],
)
def test_a_preset_that_does_not_fit_is_refused(
    hub: HubServer, capsys: pytest.CaptureFixture[str], preset: str, hardware: str, words: str
) -> None:
    config = ["--config", "configs/flux-dev-lora.yaml", "--preset", preset]
    assert main(["submit", *config, "--hardware", hardware, "--yes"]) == 2
    assert words in capsys.readouterr().err


def test_what_a_preset_sets_is_shown_and_trained_with(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.jobs.full.add("a10g-small")  # it waits: nothing is trained
    sd = model(tmp_path / "sd", TEXT)
    settings = flags(
        pretrained_model_name_or_path=sd, train_data_dir=image_folder(tmp_path / "pictures"),
        training="lora", output_dir=tmp_path / "mine", train_batch_size=8, num_shards=1,
    )  # fmt: skip
    machine = ["--hardware", "a10g-small", "--preset", "24gb", "--yes", "--detach"]
    assert main(["submit", *settings, *machine]) == 0
    said = capsys.readouterr().out
    assert "preset        24gb sets mixed_precision: bf16, gradient_checkpointing: true\n" in said
    id, bucket = STARTED.search(said), hub.buckets.get("ada/memshield-runs")
    assert id is not None
    assert bucket is not None
    config = make_config(read_yaml(bucket.path(f"{id[1]}/settings.yaml")))
    assert (config.mixed_precision, config.gradient_checkpointing) == ("bf16", True)
