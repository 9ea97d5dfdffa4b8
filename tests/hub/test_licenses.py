"""A base that is gated and not for commercial use: said before training, and on the card."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from memshield.__main__ import main
from memshield.network import page_of
from memshield.train import main as train_main
from tests.hub.conftest import TOKEN, FakeClock, lora_settings
from tests.hub.publishing import publish, require_complete
from tests.hub_server import HubServer
from tests.trained_runs import flags, train

NAME = "flux-1-dev-non-commercial-license"
CARD = f"---\nlicense: other\nlicense_name: {NAME}\nlicense_link: LICENSE.md\n---\n"
TERMS = "It allows no commercial use, and that covers models trained from this one."


def test_its_terms_reach_who_trains_and_who_reads_the_card(
    hub: HubServer, tmp_path: Path, tiny_base: Path, captions: Path, clock: FakeClock,
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    base = shutil.copytree(tiny_base, tmp_path / "base")
    (base / "README.md").write_text(CARD)
    hub.add_repo("model", "lab/dev", base, gated=True)
    hub.set_gated_access("ada", [("model", "lab/dev")])
    link = f"{page_of('model', 'lab/dev')}/blob/main/LICENSE.md"
    expected = f"{NAME} ({link}). {TERMS}"
    settings = lora_settings(
        tmp_path / "run", pretrained_model_name_or_path="lab/dev", max_train_samples=60,
        max_train_steps=4, train_data_dir=captions,
    )  # fmt: skip
    del settings["dataset_name"]

    assert main(["plan", *flags(**settings)]) == 0
    assert f"license       {expected}" in capsys.readouterr().out
    assert train_main([*flags(**settings), "--dry_run"]) == 0
    assert f"license       {expected}" in capsys.readouterr().out
    with caplog.at_level(logging.INFO, "memshield"):
        run = train(**settings)
    said = [record.getMessage() for record in caplog.records]
    assert said.index(f"License of the base: {expected}") < said.index(
        next(words for words in said if words.startswith("Done."))
    )

    caplog.clear()
    published = publish(run, clock, hub_model_id="ada/from-dev", hub_license=None)
    assert f"License of the model: {expected}" in [one.getMessage() for one in caplog.records]
    require_complete(hub, published)
    card = ModelCard.load("ada/from-dev", token=TOKEN)
    data = card.data.to_dict()
    assert (data["license"], data["license_name"], data["license_link"]) == ("other", NAME, link)
    assert TERMS in card.text
    assert "The base is gated: accept its conditions on [its page]" in card.text
