"""What stands in the way of publishing: on a command line, and on the page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memshield.errors import UserError, UserErrors
from memshield.hub.catalog.license import License
from memshield.hub.consent import CONSENTS, NAMES, WarningName
from memshield.hub.manifest import Base, Dataset
from memshield.hub.publish.confirmations import warnings_of
from memshield.hub.publish.sources import Origins
from memshield.hub.refusals import noted, of_publishing
from memshield.hub.retries import OutOfRetriesError
from memshield.ui.runs.publish_problems import on_page, problems_in
from tests.audit.reports import report_of

NO_DATA = Dataset(name=None, revision=None, on_hub=False)
SCRATCH = Origins(None, License("mit"), NO_DATA, ())
UNLICENSED = Origins(None, None, NO_DATA, ())
UNKNOWN = Origins(Base(name="lab/sd", revision=None, variant=None), None, NO_DATA, ())


def warned(name: str) -> UserError:
    """The problem of a warning, as publishing raises it."""
    found = [
        *warnings_of(None, "the model was not audited", None, True, UNKNOWN),
        *warnings_of(report_of(0.0, 0.5), None, None, True, UNLICENSED),
        *warnings_of(report_of(None, 0.5), None, None, True, SCRATCH),
        *warnings_of(report_of(0.3, 0.5), None, 0.01, True, SCRATCH),
    ]
    return next(one.error() for one in found if one.name == name)


@pytest.mark.parametrize("name", NAMES)
def test_every_warning_is_answered_with_what_the_page_offers(name: WarningName) -> None:
    error = warned(name)
    assert error.remedy.endswith(f"Or, to publish it all the same: --hub_confirm {name}")
    (shown,) = on_page(error, on_space=True)
    assert shown.field == "Publish all the same"
    assert shown.problem == error.problem
    assert f"“{CONSENTS[name].asked}”" in shown.remedy
    assert "python" not in shown.remedy and "hub_" not in shown.remedy and "RUN" not in shown.remedy


def test_a_command_line_is_still_told_its_commands() -> None:
    assert "python -m memshield audit RUN" in str(warned("no_audit"))
    assert "python -m memshield compare RUN" in str(warned("memorization"))
    assert "hub_license" in str(warned("license"))


def test_what_the_hub_refuses_is_tried_again_on_the_page() -> None:
    error = of_publishing(OutOfRetriesError("the Hub answered 503", 7, 5.0), "python -m memshield")
    assert str(error).endswith("Nothing is lost. Go on with: python -m memshield")
    (shown,) = on_page(error, on_space=True)
    assert (shown.field, shown.problem) == ("Publishing", error.problem)
    assert shown.remedy == "Nothing is lost: publish again and it goes on."


def test_a_sign_in_is_mended_where_there_is_one() -> None:
    error = UserError("HF_TOKEN", "the token may only read", "Make one with write access.")
    assert on_page(error, on_space=False)[0].remedy == "Make one with write access."
    assert "Sign out and in again" in on_page(error, on_space=True)[0].remedy


def test_the_record_tells_the_same() -> None:
    error = UserErrors([warned("license"), UserError("hub_model_id", "is missing", "Name it.")])
    values = {"state": "failed", "problems": json.loads(json.dumps(noted(error)))}
    told = [str(one) for one in problems_in(values, on_space=False)]
    assert told == [str(one) for one in on_page(error, on_space=False)]
    assert told[1] == "Repository: is missing\n  Name it."


@pytest.mark.parametrize("odd", [None, 3, "x", {}, [], [None, 3, "x", []]])
def test_a_record_without_problems_has_none(odd: Any) -> None:
    assert problems_in({"problems": odd}, on_space=True) == []
    strange = {"problems": [{"field": [odd], "problem": None, "warning": [odd]}]}
    assert len(problems_in(strange, on_space=True)) == 1
