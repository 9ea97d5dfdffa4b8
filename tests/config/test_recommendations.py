"""What is recommended for a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memshield.__main__ import main
from memshield.audit.stats.calibration import LEVELS
from memshield.config.buckets import lost_to_squares
from memshield.config.file import fields, make_config
from memshield.config.recommendations import (
    COPIES_AFTER,
    FEW_A_SHARD,
    LEAST_HELD_OUT,
    MEASURED_A_SHARD,
    MOST_LOST,
    Situation,
    advice_for,
)
from memshield.hub.card import write_card
from tests.hub.claims import manifest_of
from tests.tiny import unet_config
from tests.trained_runs import digits, flags


def situation(**changes: Any) -> Situation:
    """One that is as recommended."""
    share = 0.8 if changes.get("text") else 0.1
    values: dict[str, Any] = {
        "pictures": 1000, "shards": 1, "text": False, "scratch": True, "passes": 10.0,
        "settings": {"timestep_bias_share": share},
    }  # fmt: skip
    return Situation(**{**values, **changes})


def test_nothing_is_said_of_what_is_as_recommended() -> None:
    assert advice_for(situation()) == []
    assert advice_for(situation(shards=1000 // FEW_A_SHARD)) == []
    assert advice_for(situation(text=True)) == []
    assert advice_for(situation(pictures=20)) == [], "one shard averages nothing"


def test_a_set_too_small_to_hold_pictures_back_is_told() -> None:
    (found,) = advice_for(situation(pictures=80, held_out=0))
    assert "too small to spare them" in found.words
    assert found.settings == {}
    assert LEVELS[-1][0] == LEAST_HELD_OUT, "what the audit's calibration needs"
    assert advice_for(situation(pictures=80, held_out=LEAST_HELD_OUT)) == []


@pytest.mark.parametrize(
    ("changes", "setting", "words"),
    [
        ({"pictures": 396, "shards": 4}, "num_shards", "99 pictures each"),
        ({"pictures": 180, "held_out": 20}, "held_out_fraction", "hold 30% of the 200 pictures"),
        ({"pictures": 200, "held_out": 0}, "held_out_fraction", "No picture is held out"),
        ({"settings": {}}, "timestep_bias_share", "a tenth of the draws"),
        ({"passes": 501.0}, "memorization_budget", "501 times"),
        ({"passes": 251.0, "scratch": False}, "memorization_budget", "251 times"),
        ({"settings": {"timestep_bias_share": 0.8}}, "timestep_bias_share", "a tenth of the draws"),
        (
            {"text": True, "settings": {"timestep_bias_share": 0.5}},
            "timestep_bias_share",
            "copies are learned at high noise",
        ),
        ({"text": True, "settings": {}}, "timestep_bias_share", "copies are learned at high noise"),
        (
            {"text": True, "settings": {"timestep_bias_share": 0.1}},
            "timestep_bias_share",
            "few draws at low noise gave more back",
        ),
        (
            {"settings": {"timestep_bias_share": 0.1, "lr_warmup_steps": 200}, "steps": 150},
            "lr_warmup_steps",
            "warms up over 200 steps, and the training has 150",
        ),
        ({"text": True, "lost": 0.25}, "aspect_ratio_buckets", "lose 25% of their area or more"),
    ],
)
def test_each_advice_has_its_reason_and_a_setting(
    changes: dict[str, Any], setting: str, words: str
) -> None:
    (found,) = advice_for(situation(**changes))
    assert words in found.words
    assert list(found.settings) == [setting]
    assert setting in fields()
    assert "_" not in found.words, "no code names"


def test_a_warm_up_that_ends_or_is_not_made_is_not_spoken_of() -> None:
    settings = {"timestep_bias_share": 0.1, "lr_warmup_steps": 200}
    assert advice_for(situation(settings=settings, steps=200)) == []
    assert advice_for(situation(settings=settings)) == []
    constant = {**settings, "lr_scheduler": "constant"}
    assert advice_for(situation(settings=constant, steps=150)) == []


def test_pictures_that_lose_little_and_models_of_one_size_stay_square() -> None:
    assert advice_for(situation(text=True, lost=MOST_LOST)) == []
    assert advice_for(situation(lost=0.5)) == [], "a model without prompts"
    for value in ("auto", "512,512;448,576"):
        settings = {"aspect_ratio_buckets": value, "timestep_bias_share": 0.8}
        assert advice_for(situation(text=True, lost=0.5, settings=settings)) == []


def test_the_median_picture_counts() -> None:
    assert lost_to_squares([]) is None
    assert lost_to_squares([(600, 800)] * 2 + [(64, 64)]) == 0.25
    assert lost_to_squares([(800, 600)] + [(64, 64)] * 2) == 0
    assert lost_to_squares([(100, 50), (50, 25), (9, 9), (8, 8)]) == 0.25


def test_a_budget_answers_for_many_passes() -> None:
    for text, share in ((False, 0.1), (True, 0.8)):
        settings = {"timestep_bias_share": share, "memorization_budget": 0.02}
        assert advice_for(situation(passes=10_000.0, settings=settings, text=text)) == []


def test_figures_are_those_of_the_measurements() -> None:
    """Pictures a shard, and passes after which plain training gave some back."""
    from tests.bench.tradeoff.regimes import REGIMES
    from tests.bench.tradeoff.summary import excess_of, read_cells

    for name, scratch in (("fashion-100", True), ("tuned-100", False)):
        regime = REGIMES[name]
        assert regime.members // 4 == MEASURED_A_SHARD
        cells = read_cells(name)[0]["plain-longer"]
        for rounds in cells.values():
            given_back = [row["samples"] for row in rounds if excess_of(row) > 0.02]
            assert min(given_back) / regime.members >= COPIES_AFTER[scratch]


def test_with_captions_draws_by_level_are_the_other_way_round() -> None:
    """On every seed: more draws at low noise give less back at the end, and least with skips.

    Fewer give about twice as much back and more, from 20,000 samples on.
    """
    from tests.bench.tradeoff.summary import excess_of, read_cells

    cells = read_cells("emoji-lora")[0]
    plain = cells["plain-longer"]
    for seed, rounds in cells["draws-longer"].items():
        later = [(excess_of(a), excess_of(b)) for a, b in
                 zip(rounds, plain[seed], strict=True)][4:]  # fmt: skip
        assert all(own > 1.9 * alike for own, alike in later)
    for method, most in (("draws-low", 0.6), ("draws-low-agc", 0.3)):
        for seed, rounds in cells[method].items():
            assert excess_of(rounds[-1]) < most * excess_of(plain[seed][-1])


def test_a_config_knows_its_passes() -> None:
    config = make_config(
        {"model_config_name_or_path": "unet.json", "dataset_name": "a/b", "train_batch_size": 4}
    )
    found = Situation.of(config, 100, 50, text=False, held_out=60)
    assert (found.passes, found.scratch, found.shards) == (2.0, True, 4)
    assert Situation.of(config, 100, None, text=False, held_out=None).passes is None


def test_the_plan_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = digits(tmp_path / "run", unet_config(tmp_path))
    assert main(["plan", *flags(**settings)]) == 0
    said = capsys.readouterr().out
    assert "advice        Shards hold 27 pictures each." in said
    assert "(num_shards: 1)" in said
    assert main(["plan", *flags(**settings), "--json"]) == 0
    advice = json.loads(capsys.readouterr().out)["advice"]
    named = [list(one["settings"]) for one in advice]
    assert named == [[], ["num_shards"], ["timestep_bias_share"]]
    assert "Only 6 pictures are held out" in advice[0]["words"]


def test_the_card_says_that_shards_were_small() -> None:
    manifest = manifest_of(text=False, pipeline_class="DDPMPipeline", base=None)
    training = manifest.training.model_copy(update={"pictures": 120})
    card = write_card(manifest.model_copy(update={"training": training}), "ada/lora")
    assert "- Shards hold 30 pictures each." in card
    large = manifest.training.model_copy(update={"pictures": 4000})
    assert "Shards hold" not in write_card(
        manifest.model_copy(update={"training": large}), "ada/lora"
    )
    strange = {**manifest.training.settings, "num_shards": "many"}
    odd = manifest.training.model_copy(update={"settings": strange})
    assert "Shards hold" not in write_card(
        manifest.model_copy(update={"training": odd}), "ada/lora"
    )
