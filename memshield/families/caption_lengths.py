"""Captions that are longer than a text encoder takes. Imports torch to count, not before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memshield.config.file import Config
from memshield.errors import UserError
from memshield.families import class_of
from memshield.families.facts import Facts


@dataclass(frozen=True)
class CutCaptions:
    """Captions whose ends are cut off.

    Attributes:
        count: of them.
        of: captions in all.
        most: tokens that the text encoder takes.
        longest: tokens of the longest caption.
        by_setting: whether `max_sequence_length` says how many it takes.
    """

    count: int
    of: int
    most: int
    longest: int
    by_setting: bool

    @property
    def words(self) -> str:
        """A sentence, and what to do."""
        remedy = "Raise max_sequence_length, or shorten" if self.by_setting else "Shorten"
        return (
            f"{self.count} of {self.of} captions are longer than the {self.most} tokens that the "
            f"text encoder takes, the longest has {self.longest}: what lies beyond is cut off. "
            f"{remedy} them."
        )


def find_cut_captions(config: Config, facts: Facts, captions: Sequence[str]) -> CutCaptions | None:
    """Count the captions that are too long; None where none is.

    Args:
        config: resolved settings.
        facts: of a model that is prompted. Its tokenizer is fetched, and no weights.
        captions: of the pictures that are trained on.

    Raises:
        UserError: the tokenizer cannot be had, or cannot be read.
    """
    try:
        counts, most = class_of(facts.family).count_tokens(config, facts, captions)
    except UserError:
        raise
    except (OSError, ValueError) as error:  # transformers' own
        name = None if facts.repository is None else facts.repository.name
        raise UserError(
            "pretrained_model_name_or_path",
            f"the tokenizer of {name} cannot be read",
            "Choose a model in the layout of diffusers; offline, fetch it whole first.",
        ) from error
    cut = sum(count > most for count in counts)
    if not cut:
        return None
    by_setting = config.max_sequence_length is not None
    return CutCaptions(cut, len(counts), most, max(counts), by_setting)
