"""Errors as a page shows them: with its own labels, and without settings of a terminal."""

from __future__ import annotations

import pytest
from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

from memshield.errors import UserError, UserErrors, collect_errors
from memshield.hub.account import account_of, api_for
from memshield.network import asking, gated, not_a_hub
from memshield.ui.widgets.problems import problem_view, problems_view, summary_view
from memshield.ui.widgets.words import worded
from tests.ui.markup import text_of


def raised_by(error: Exception) -> UserError:
    errors: list[UserError] = []
    with collect_errors(errors), asking("dataset_name", "ada/pictures"):
        raise error
    return errors[0]


def nobody() -> UserError:
    errors: list[UserError] = []
    with collect_errors(errors):
        account_of(api_for(False))
    return errors[0]


@pytest.mark.parametrize(
    "error",
    [
        nobody(),
        gated("dataset_name", "ada/pictures", "dataset"),
        not_a_hub("dataset_name"),
        raised_by(LocalTokenNotFoundError()),
    ],
)
def test_a_page_names_no_variable_of_the_environment(error: UserError) -> None:
    assert "HF_" in str(error)
    for shown in (problems_view(error), problem_view(error), summary_view([], [error])):
        assert "HF_" not in text_of(shown)
        assert error.problem in text_of(shown)


def test_who_started_the_page_offline_is_told_how() -> None:
    error = raised_by(OfflineModeIsEnabled())
    assert "Unset HF_HUB_OFFLINE" in text_of(problem_view(error))


def test_a_moved_error_keeps_both_remedies() -> None:
    error = gated("x", "ada/pictures")
    moved = error.moved("model")
    assert (moved.field, moved.remedy, moved.advice) == ("model", error.remedy, error.advice)
    errors: list[UserError] = []
    with collect_errors(errors, "base"):
        raise error
    assert (errors[0].field, errors[0].advice) == ("base", error.advice)


def test_settings_are_named_as_the_form_names_them() -> None:
    error = UserError(
        "num_shards", "8 shards, but only 6 pictures", "Lower num_shards or --held_out_fraction."
    )
    for shown in (problems_view(error), problem_view(error), summary_view([], [error])):
        assert "Lower shards or held out fraction." in text_of(shown)
        assert "num_shards" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "Give --num_shard 3",
        "in runs/num_shards/model and num_shards.json",
        "Type `name: value`, such as lr_warmup_steps: 0.",
        "The column 'image_column' is not there",
        "another_num_shards",
    ],
)
def test_what_only_looks_like_a_setting_stays(text: str) -> None:
    assert worded(text) == text


def test_several_errors_are_a_line_each_on_a_page() -> None:
    both = UserErrors([nobody(), UserError("x", "is missing")])
    first, second = both.on_page.splitlines()
    assert first.startswith("no token is set") and "HF_TOKEN" not in first
    assert second == "is missing"
