"""What an audit of any model would open: a pipeline, or a LoRA on its base. No weights are read."""

from __future__ import annotations

from dataclasses import dataclass

from memshield.config.file import make_config
from memshield.errors import UserError, UserErrors
from memshield.families.lora_repository import open_model, require_prompted
from memshield.hub.catalog.access import FIELDS
from memshield.hub.catalog.model import read_strangers_facts
from memshield.network import Token


@dataclass(frozen=True)
class AuditedFacts:
    """Facts about a model to audit.

    Attributes:
        base: Hub id or folder of the pipeline that a LoRA goes on; None for a whole pipeline.
        needs_captions: whether it is conditioned on text.
        resolution: its own, in pixels.
    """

    base: str | None
    needs_captions: bool
    resolution: int


def look_at_model(
    name: str, base: str | None, weight_name: str | None, token: Token
) -> AuditedFacts:
    """Look a model up.

    Args:
        name: Hub id, or a folder that the caller may read.
        base, weight_name: of a LoRA; None for what it says itself.
        token: see `memshield.network.Token`.

    Raises:
        UserError: it cannot be audited; the field is model, base or weight_name.
    """
    repository, lora = open_model(name, base=base, weight_name=weight_name, token=token)
    named = lora.base if lora is not None else name
    config = make_config(
        {FIELDS["model"]: named, "training": "full"},
        without=["dataset"],
    )
    try:
        facts = read_strangers_facts(
            config, repository if lora is None else None, token, to_train=False
        )
        require_prompted(lora, facts)
    except UserErrors:
        raise
    except UserError as error:
        field = "model" if lora is None else "base"
        if error.field not in (FIELDS["model"], "resolution"):
            field = error.field
        raise error.moved(field) from None
    return AuditedFacts(None if lora is None else lora.base, facts.needs_captions, facts.resolution)
