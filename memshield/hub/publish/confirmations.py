"""Warnings that a person has to confirm by name before a model is published."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from memshield.audit.choose import is_over
from memshield.audit.report import Report, percent
from memshield.errors import UserError
from memshield.hub.catalog.license import License
from memshield.hub.consent import WarningName
from memshield.hub.publish.sources import Origins, is_known
from memshield.hub.refusals import PublishingError


@dataclass(frozen=True)
class PublishWarning:
    """A warning that a person has to confirm before publishing.

    Attributes:
        name: to confirm it by.
        problem: in words.
        remedy: what else could be done.
    """

    name: WarningName
    problem: str
    remedy: str

    def error(self) -> PublishingError:
        """As an error, with how to confirm it."""
        remedy = f"{self.remedy} Or, to publish it all the same: --hub_confirm {self.name}"
        return PublishingError("hub_confirm", self.problem, remedy, warning=self.name)


def warnings_of(
    report: Report | None, why_none: str | None, budget: float | None, public: bool,
    origins: Origins,
) -> list[PublishWarning]:  # fmt: skip
    """All warnings about a publication.

    Args:
        report: the audit of the model; None where there is none, with `why_none`.
        budget: largest excess of given-back pictures; None where the run has none: then what
            is beyond chance is over it.
        public: whether everybody will be able to read the repository.
        origins: of the model.
    """
    found = license_warnings(origins, public)
    if public:
        found += _of_audit(report, why_none, budget)
    return found


def license_warnings(origins: Origins, public: bool) -> list[PublishWarning]:
    """Warnings about the license of a model; see `warnings_of`."""
    if origins.base is not None:
        found = [_objection(origins.license, "the base")]
        if origins.vae is not None and origins.copies_vae:
            found.append(_objection(origins.vae.license, "the VAE"))
        problems = [problem for problem in found if problem is not None]
        remedy = "Ask its owner, or state the license as hub_license."
        if found[0] is None:
            remedy = "Ask its owner, or train with the base's own VAE."
        return [PublishWarning("license", ", and ".join(problems), remedy)] if problems else []
    if not public or is_known(origins.license):
        return []
    problem = "the model has no license, so nobody else may use it"
    return [PublishWarning("no_license", problem, "State one as hub_license, such as mit.")]


def _objection(license: License | None, what: str) -> str | None:
    """Why publishing a derivative may not be allowed; None where nothing speaks against it."""
    if license is None or not is_known(license):
        return f"the license of {what} is not known"
    words = f"{license.id} {license.name or ''}"
    if re.search(r"(^|[\W_])nd([\W_]|$)|no[\s_-]?deriv", words, re.IGNORECASE):
        return f"the license of {what}, {license}, allows no derivatives"
    return None


def _of_audit(
    report: Report | None, why_none: str | None, budget: float | None
) -> list[PublishWarning]:
    private = "or publish to a private repository."
    if report is None:
        problem = f"{why_none}, so nothing is known of what it gives back"
        remedy = f"Audit it (python -m memshield audit RUN), {private}"
        return [PublishWarning("no_audit", problem, remedy)]
    headline = report.headline
    if headline.excess is None or headline.excess_interval is None or report.generated.is_broken:
        remedy = f"Hold more pictures out, {private}"
        return [PublishWarning("cannot_say", report.verdict.rstrip("."), remedy)]
    beyond_chance = headline.excess_interval[0] > 0
    if not (beyond_chance if budget is None else is_over(report, budget)):
        return []
    allowed = "what happens by chance" if budget is None else f"the budget of {percent(budget)}"
    given = f"the model gives {percent(headline.excess)} back beyond chance, over {allowed}"
    choose = "Choose an earlier round (python -m memshield compare RUN --budget X --promote)"
    return [PublishWarning("memorization", given, f"{choose}, {private}")]


def require_confirmed(
    warned: Sequence[PublishWarning], confirmed: Collection[str]
) -> list[UserError]:
    """Errors for the warnings that were not confirmed."""
    return [one.error() for one in warned if one.name not in confirmed]
