"""What the trade-off bench makes of its cells: the best audit, ratios by seed, the tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench.common import RESULTS
from tests.bench.tradeoff.cell import folder_for, folders_of, settings_of
from tests.bench.tradeoff.methods import METHODS
from tests.bench.tradeoff.regimes import REGIMES, Pool, rows_of_run
from tests.bench.tradeoff.summary import (
    Best,
    Cells,
    best_within,
    headline,
    interval,
    least_excess,
    strongest_plain,
    summary_of,
    table,
)

FOLDERS = [folder for name in REGIMES for folder in folders_of(name)]


def rounds(*figures: tuple[float, float, float]) -> list[dict[str, Any]]:
    """Audits of (excess of the ratio, excess of d1 / d2, KID)."""
    return [
        {
            "samples": 1000 * (place + 1), "excess": ratio, "excess_second_ratio": second,
            "classifier": {"KID": quality}, "pixels": {"KID": quality},
        }
        for place, (ratio, second, quality) in enumerate(figures)
    ]  # fmt: skip


PLAIN = rounds((-0.01, 0.0, 0.4), (0.0, 0.02, 0.2), (0.01, 0.03, 0.1), (0.2, 0.1, 0.05))
BETTER = rounds((-0.01, 0.0, 0.3), (0.0, 0.0, 0.1), (0.0, 0.01, 0.08))


def test_both_measures_have_to_keep_to_the_budget() -> None:
    assert best_within(PLAIN, "pixels") == Best(0.2, 2000, 0.02)
    assert best_within(PLAIN, "pixels", 0.1) == Best(0.1, 3000, 0.03)
    assert best_within(rounds((0.5, 0.0, 0.1)), "pixels") is None


def test_what_is_given_back_at_a_quality() -> None:
    assert least_excess(PLAIN, "pixels", 0.2) == 0.02
    assert least_excess(PLAIN, "pixels", 0.05) == 0.2
    assert least_excess(PLAIN, "pixels", 0.01) is None


def test_a_seed_is_held_against_its_own_strongest_plain_training() -> None:
    decayed = rounds((0.0, 0.0, 0.16))
    cells = {"plain": {0: PLAIN, 1: PLAIN}, "plain-decayed": {1: decayed}, "draws": {0: BETTER, 1: BETTER}}  # noqa: E501  # fmt: skip
    assert strongest_plain(cells, 0, "pixels", 0.02) == Best(0.2, 2000, 0.02)
    assert strongest_plain(cells, 1, "pixels", 0.02) == Best(0.16, 1000, 0.0)
    found = summary_of([cells])["draws"]["pixels"]
    assert found["ratios"] == pytest.approx([0.4, 0.5])
    assert found["ratio"] == pytest.approx(math.sqrt(0.2))
    low, high = found["ratio_interval"]
    assert low < 0.4 < 0.5 < high, "two seeds say little"
    assert found["excess"] == [{"plain": 0.03, "own": 0.0}, {"plain": 0.03, "own": 0.0}]
    assert "| draws by level | 0, 1 | 0.40 and 0.50 |" in "\n".join(
        table("fashion-100", summary_of([cells]))
    )
    assert "from scratch | 0.40 and 0.50;" in headline({"fashion-100": summary_of([cells])})[2]


def test_only_what_one_classifier_scored_is_compared() -> None:
    stronger = rounds((0.0, 0.0, 0.02))
    series: list[Cells] = [
        {"plain": {0: PLAIN}, "draws": {0: BETTER}},
        {"plain": {0: stronger, 1: stronger}, "draws": {0: PLAIN, 1: BETTER}},
    ]
    found = summary_of(series)["draws"]["pixels"]
    assert found["seeds"] == [0, 1]
    assert found["ratios"] == pytest.approx([0.4, 4.0]), "the first series has seed 0"


@pytest.mark.parametrize(
    "folder", [path for path in FOLDERS if any(path.glob("*.json"))], ids=lambda path: path.name
)
def test_cells_that_are_compared_have_one_classifier_and_one_base(folder: Path) -> None:
    cells = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    (accuracy,) = {cell["classifier_accuracy"] for cell in cells}
    (base,) = {cell["config"].get("base_sha256") for cell in cells}
    assert folder_for(folder.relative_to(RESULTS / "tradeoff").parts[0], accuracy, base) == folder


def test_results_of_another_classifier_or_base_are_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.bench.tradeoff.cell.RESULTS", tmp_path)
    main = tmp_path / "tradeoff" / "emoji-lora"
    assert folder_for("emoji-lora", 0.6, "abc") == main
    main.mkdir(parents=True)
    cell = {"classifier_accuracy": 0.6, "config": {"base_sha256": "abc"}}
    (main / "plain_seed_0.json").write_text(json.dumps(cell))
    assert folder_for("emoji-lora", 0.6, "abc") == main
    others = [(0.614, "abc"), (0.6, "def"), (0.614, "def"), (0.6, None), (0.614, None)]
    found = [folder_for("emoji-lora", *one) for one in others]
    assert len({main, *found}) == 6
    for folder, (accuracy, base) in zip(found, others, strict=True):
        folder.mkdir(exist_ok=True)
        cell = {"classifier_accuracy": accuracy, "config": {"base_sha256": base}}
        (folder / "plain_seed_0.json").write_text(json.dumps(cell))
    assert set(folders_of("emoji-lora")) == {main, *found}
    assert [folder_for("emoji-lora", *one) for one in others] == found


def test_an_interval_over_seeds_is_students() -> None:
    low, high = interval([1.0, 2.0, 3.0]) or (0.0, 0.0)
    assert (low, high) == pytest.approx((2 - 4.303 / math.sqrt(3), 2 + 4.303 / math.sqrt(3)), 1e-3)
    assert interval([1.0]) is None


@pytest.mark.parametrize("name", REGIMES)
def test_all_methods_of_a_regime_see_as_many_samples(name: str) -> None:
    regime = REGIMES[name]
    for method, chosen in METHODS.items():
        settings = settings_of(regime, method, 0)
        seen = settings["max_train_steps"] * settings["train_batch_size"]
        assert seen == pytest.approx(regime.samples * chosen.share, rel=1e-3)
        if method not in regime.without:
            assert settings["num_rounds"] % settings["audit_every_rounds"] == 0


def test_pictures_of_a_run_are_not_those_that_others_learn_from() -> None:
    regime = REGIMES["fashion-100"]
    table = None
    pool = Pool(table, np.arange(3000), np.arange(3000, 8000))
    first, second = (rows_of_run(regime, pool, seed) for seed in (0, 1))
    assert len(set(first.tolist())) == regime.members + regime.held_out + regime.watched
    assert not np.isin(first, pool.reserved).any()
    assert sorted(first) != sorted(second)
    assert np.array_equal(first, rows_of_run(regime, pool, 0))
