"""What a watch found at each noise level, against plain loops, and how it is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from memshield.audit.watch_findings import (
    Band,
    above_lowest,
    band_name,
    bound_names,
    findings,
    height_of,
    outcome_words,
    sentences,
    some_of,
    summary,
)
from memshield.audit.watch_record import WatchCheck, WatchRecord
from tests.watches import made_watch, watch_of_losses


def plain_finding(record: WatchRecord, band: int) -> Band:
    """The same with one loop over the checks."""
    stopped = record.stopped[band]
    lowest, lowest_step, end, above = float("inf"), -1, 0.0, []
    for check in record.checks:
        if stopped is not None and check.step > stopped:
            break
        end = check.losses[band]
        if end < lowest:
            lowest, lowest_step = end, check.step
        above.append(end)
    rise = end / lowest - 1
    if stopped is not None:
        beside = False
        for other in range(band + 1, record.bands):
            beside = beside or record.stopped[other] == stopped
        outcome = "stopped along" if beside and rise < 0.002 else "stopped"
    else:
        last_two = [loss / lowest - 1 for loss in above][-2:]
        outcome = "risen" if all(one >= 0.002 for one in last_two) else "learning"
    return Band(band, lowest, lowest_step, rise, stopped, outcome)  # type: ignore[arg-type]


def test_a_rise_within_its_error_is_none() -> None:
    """Two checks half a percent above the lowest, twice: once surely, once by the pictures."""
    record = watch_of_losses([[1.0], [0.8], [0.804], [0.804]], [None])
    told = [
        record.model_copy(
            update={
                "checks": tuple(
                    check.model_copy(update={"errors": (error,)}) for check in record.checks
                )
            }
        )
        for error in (0.0019, 0.0021)
    ]
    assert [findings(one)[0].outcome for one in told] == ["risen", "learning"]
    again = WatchRecord.model_validate_json(told[0].model_dump_json())
    assert again == told[0]
    assert "errors" not in record.model_dump_json(), "an earlier record is written as it was"


@pytest.mark.parametrize("seed", range(20))
def test_findings_are_those_of_a_loop(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    losses = 1 + np.cumsum(drawn.normal(-0.001, 0.01, (12, 6)), axis=0)
    stopped = [
        int(step) if step >= 0 else None for step in drawn.choice([-1, 40, 80, 110], 6).tolist()
    ]
    record = watch_of_losses(losses.tolist(), stopped)
    found = findings(record)
    assert list(found) == [plain_finding(record, band) for band in range(6)]
    for band in found:
        for check, (step, above) in zip(record.checks, above_lowest(record, band), strict=True):
            assert step == check.step
            assert above == pytest.approx(check.losses[band.number] / band.lowest - 1)


def test_one_raised_check_is_no_rise_yet() -> None:
    losses = [[1.0], [0.5], [0.6]]
    assert findings(watch_of_losses(losses))[0].outcome == "learning"
    assert findings(watch_of_losses([*losses, [0.6]]))[0].outcome == "risen"
    assert findings(watch_of_losses([*losses, [0.5005]]))[0].outcome == "learning"


def test_what_learned_nothing_yet_stopped_along() -> None:
    record = watch_of_losses(
        [[1.0, 0.5, 1.0], [1.0, 0.4, 0.9], [0.999, 0.5, 0.8], [0.99, 0.5, 0.7]], [20, 20, None]
    )
    assert [one.outcome for one in findings(record)] == ["stopped along", "stopped", "learning"]
    assert "stopped there at step 20, along with levels of more noise" in " ".join(
        sentences(record)
    )


def test_it_says_where_memorization_would_have_begun() -> None:
    losses = [[1.0, 0.9, 0.8], [0.5, 0.4, 0.7], [0.6, 0.3, 0.6], [0.7, 0.4, 0.5]]
    record = watch_of_losses(losses, [20, 30, None], every=1000)
    record = record.model_copy(update={"stopped": (2000, 3000, None)})
    assert sentences(record) == [
        "Memorization would have begun at noise 0.01 to 0.72 of the signal (2 of 3 bands): the "
        "held-out loss was lowest there between steps 1,000 and 2,000 and then turned upwards, so "
        "training on the pictures stopped at these levels between steps 2,000 and 3,000.",
        "At noise 0.72 to 1.2 of the signal (1 of 3 bands) the held-out loss shows no rise: this "
        "level still learns at step 3,000.",
    ]
    assert summary(record) == "2 of 3 bands stopped"
    words = [outcome_words(record, band) for band in findings(record)]
    assert words == ["stopped at 2,000", "stopped at 3,000", "still learns"]


def test_it_says_where_memorization_begins_if_bands_are_only_watched() -> None:
    losses = [[1.0, 0.9, 0.8], [0.5, 0.4, 0.5], [0.6, 0.3, 0.6], [0.7, 0.2, 0.6]]
    record = watch_of_losses(losses, stops=False)
    assert sentences(record) == [
        "Memorization begins at noise 0.01 to 0.34 and 0.72 to 1.2 of the signal (2 of 3 bands): "
        "the held-out loss was lowest at step 10 and lies 20 % to 40 % higher at step 30.",
        "At noise 0.34 to 0.72 of the signal (1 of 3 bands) the held-out loss shows no rise: this "
        "level still learns at step 30.",
    ]
    assert summary(record) == "2 of 3 bands risen"
    assert "not been enough for a stop" in sentences(record.model_copy(update={"stops": True}))[0]


def test_it_says_that_all_still_learn_and_what_is_not_known_yet() -> None:
    falling = watch_of_losses([[1.0, 0.9], [0.5, 0.4]])
    assert sentences(falling) == [
        "The held-out loss shows a rise at no noise level: all still learn at step 10."
    ]
    once = falling.until(0)
    assert "looked at once so far, at step 0" in sentences(once)[0]
    assert outcome_words(once, findings(once)[0]) == ""
    none = falling.until(-1)
    assert findings(none) == ()
    assert sentences(none) == ["The held-out loss has not been looked at yet."]


def test_the_axes_show_rises_not_the_first_fall() -> None:
    assert height_of(findings(made_watch(stops=False))) == pytest.approx(0.51, abs=0.02)
    assert height_of(findings(watch_of_losses([[9.0], [1.0], [1.01], [1.01]]))) == 0.2
    assert height_of(findings(watch_of_losses([[9.0], [1.0], [7.0], [8.0]]))) == 1.0
    assert height_of(findings(watch_of_losses([[9.0], [1.0], [1.01]]))) == 1.0


def test_some_bands_are_the_first_the_last_and_those_between() -> None:
    found = findings(made_watch())
    assert some_of(found, 10) == list(found)
    assert [band.number for band in some_of(found, 4)] == [0, 3, 6, 9]


def test_bounds_are_named_as_short_as_tells_them_apart() -> None:
    record = made_watch()
    names = bound_names(record)
    assert names[:4] == ["0.01", "0.34", "0.72", "1.2"]
    assert names[-1] == "157"
    assert band_name(record, findings(record)[1]) == "0.34 to 0.72"
    near = record.model_copy(update={"bounds": (0.341, 0.342, 1234.0, float("inf"))})
    assert bound_names(near) == ["0.341", "0.342", "1,234", "∞"]


def test_a_record_until_a_step_knows_nothing_later() -> None:
    whole = made_watch()
    for step in (0, 300, 640):
        cut = whole.until(step)
        assert [check.step for check in cut.checks] == list(range(0, step + 1, 20))
        assert all(one is None or one <= step for one in cut.stopped)
    assert whole.until(640) == whole
    assert sum(one is not None for one in whole.until(300).stopped) == 2


def test_a_schedule_that_ends_in_pure_noise_is_read_back(tmp_path: Path) -> None:
    record = made_watch()
    record = record.model_copy(update={"bounds": (*record.bounds[:-1], float("inf"))})
    record.write(tmp_path / "watch.json")
    assert WatchRecord.read(tmp_path / "watch.json") == record
    assert "Infinity" not in json.loads((tmp_path / "watch.json").read_text())["checks"]
    assert WatchRecord.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bounds": (0.1,)}, "bounds"),
        ({"bounds": (2.0, 1.0)}, "bounds must rise"),
        ({"checks": ({"step": 0, "losses": (1.0, 2.0)},)}, "each of the 1 bands"),
        ({"checks": ({"step": 0, "losses": (float("nan"),)},)}, "finite"),
        ({"stopped": (1, 2)}, "stopped must name each of the 1 bands"),
        (
            {"checks": [WatchCheck(step=step, losses=(1.0,)) for step in (5, 5)]},
            "order of their steps",
        ),
    ],
)
def test_what_is_no_record_is_refused(change: dict[str, object], said: str) -> None:
    values = {"pictures": 20, "draws": 64, "bounds": (0.1, 1.0), "stops": True, **change}
    with pytest.raises(ValidationError, match=said):
        WatchRecord.model_validate(values)
