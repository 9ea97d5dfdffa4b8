"""What the form shows: problems in short, links, plans, one's own pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from huggingface_hub.constants import ENDPOINT

from memshield.errors import UserError
from memshield.forecast.duplicates import (
    DuplicatePair,
    DuplicatePairs,
    find_duplicates,
    open_folder,
)
from memshield.forecast.estimate import Range
from memshield.forecast.hardware import Machine
from memshield.ui.form.choices import Choices
from memshield.ui.form.planning import plan
from memshield.ui.new.descriptions import duplicates_view, own_view
from memshield.ui.new.forecast_view import forecast_view
from memshield.ui.widgets.problems import problem_view, summary_view
from memshield.ui.widgets.words import linked
from tests.ui.made_runs import HOSTILE, picture
from tests.ui.markup import shows_hostile, text_of
from tests.ui.repos import pictures

MACHINE = Machine((), 2, 8 * 10**9)


def test_a_summary_leads_to_the_fields() -> None:
    shown = summary_view([("model", "Model"), ("epochs", "Epochs")])
    assert text_of(shown) == "2 things to fix: Model Epochs"
    assert 'href="#field-epochs" data-field="epochs"' in shown
    assert "Sign in above" in text_of(
        summary_view([], [UserError("sign in", "x", "Sign in above.")])
    )
    assert summary_view([]) == ""
    assert shows_hostile(summary_view([("a", HOSTILE)], [UserError("b", HOSTILE, HOSTILE)]))


def test_only_pages_of_the_hub_become_links() -> None:
    page = f"{ENDPOINT}/datasets/lab/gated"
    made = linked(f"Accept its conditions on {page}. <b>")
    assert f'<a href="{page}" target="_blank"' in made and "</a>. &lt;b&gt;" in made
    for other in (
        "https://evil.example/a/b",
        "javascript:alert(1)",
        f"{ENDPOINT}.evil.example/a/b",
    ):
        assert "<a" not in linked(f"See {other} now")
    assert "<a" in problem_view(UserError("model", "is gated", f"See {page}."), "model")


def test_a_plan_in_a_few_facts() -> None:
    made = plan(Choices(), MACHINE, None)
    assert made.here is not None
    said = text_of(forecast_view(made))
    assert "pictures to train on" in said and "rough estimate" in said
    assert "price" not in said and "Hub's hardware" not in said
    dear = replace(made, here=replace(made.here, dollars=Range(0.5, 2)), elsewhere=(made.here,))
    said = text_of(forecast_view(dear))
    assert "$0.50 to $2.00" in said and "On the Hub's hardware" in said
    full = replace(made, here=replace(made.here, memory_there=10**6))
    assert "does not fit" in text_of(forecast_view(full))


def test_what_is_recommended_stands_under_the_facts() -> None:
    as_recommended = plan(Choices(epochs=5), MACHINE, None)
    assert "Recommendations" not in forecast_view(as_recommended)
    otherwise = plan(Choices(strength=0, shards=4, epochs=5), MACHINE, None)
    said = text_of(forecast_view(otherwise))
    assert "Recommendations" in said
    assert "Strength of the mitigation: 0.5" in said
    small = plan(Choices(shards=20, rounds=2, epochs=5), MACHINE, None)
    said = text_of(forecast_view(small))
    assert "Shards hold 80 pictures each." in said
    assert "Shards: 1" in said


def test_pictures_of_ones_own_and_what_is_there_twice(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set", [*range(10), 1], captions=True)
    (folder / "broken.png").write_bytes(b"no picture")
    source = open_folder(folder)
    said = text_of(own_view(source))
    assert "11 pictures, captions from 'text'" in said and "number 3" in said
    found = find_duplicates(source)
    assert "1 pair of training pictures" in text_of(duplicates_view(found, ""))
    for setting, words in (("drop", "leaves out the others"), ("spread", "over the shards"),
                           (["odd"], "in one shard")):  # fmt: skip
        assert words in text_of(duplicates_view(found, setting))
    alone = find_duplicates(open_folder(pictures(tmp_path / "other", range(5))))
    assert text_of(duplicates_view(alone, "")) == "No duplicates."


def test_more_duplicates_than_are_shown() -> None:
    pairs = tuple(DuplicatePair("near", (i, 99), (picture(1), picture(2)), 0.01) for i in range(30))
    found = DuplicatePairs(pairs, groups=10, pictures=110, compared=200, rows=200, unreadable=())
    html = duplicates_view(found, "")
    assert html.count("<img") == 48
    assert "100 pairs" in text_of(html)
    assert "And 76 pairs more" in text_of(html)
