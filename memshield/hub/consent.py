"""Warnings about a publication: the sentence that consents to one, and what a card says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

WarningName = Literal["no_audit", "cannot_say", "memorization", "license", "no_license"]
NAMES: tuple[str, ...] = get_args(WarningName)


class Consent(NamedTuple):
    """What is said of a warning.

    Attributes:
        asked: what a person agrees to.
        told: what readers of the model are told afterwards.
    """

    asked: str
    told: str


CONSENTS: Mapping[WarningName, Consent] = {
    "no_audit": Consent(
        "Publish it although nobody knows how much of the training pictures it gives back.",
        "It was published without an audit, and its publisher was told so.",
    ),
    "cannot_say": Consent(
        "Publish it although its audit cannot say how much it gives back.",
        "Its audit cannot say how much it gives back; its publisher was told so.",
    ),
    "memorization": Consent(
        "Publish it although it gives training pictures back.",
        "It gives training pictures back, and its publisher was told so.",
    ),
    "license": Consent(
        "Publish it although the license of its base may not allow it. I have the right to.",
        "The license of its base is not known or may not allow derivatives; its publisher was "
        "told so.",
    ),
    "no_license": Consent(
        "Publish it without a license: others may look at it, and not use it.",
        "Its publisher stated no license: without one, nobody else may use the model.",
    ),
}


def told_of(confirmed: tuple[str, ...]) -> list[str]:
    """Sentences for readers of a model, of the warnings that its publisher confirmed.

    Args:
        confirmed: their names; one that there is not is left out, see `memshield.hub.verify`.
    """
    return [consent.told for name, consent in CONSENTS.items() if name in confirmed]
