"""From a config to a run that can be trained: what is found, and what is wrong. Imports no torch.

`train`, its dry run, the plan and the page all prepare here. They differ in how they find the
pictures, in what they check besides, and in whether a problem ends the preparation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from memshield.audit.sample_size import require_auditable
from memshield.budget import Budget
from memshield.config.file import Config
from memshield.data.examples import Examples
from memshield.data.requirements import budget_of, can_cache
from memshield.data.scan import Scan, require_same_dataset, scan
from memshield.data.source import Source, SourceSettings, open_source
from memshield.errors import Problems, UserError
from memshield.families import Facts, read_facts, require_noise_level, resolve
from memshield.training.launch import require_hardware, resolve_launch


@dataclass(frozen=True)
class Job:
    """A run whose data and settings are known and checked.

    Attributes:
        config: with everything resolved.
        facts: of the model.
        source: of the pictures.
        examples: the table.
        budget: steps of every shard in every round.
    """

    config: Config
    facts: Facts
    source: Source
    examples: Examples
    budget: Budget

    def captions(self) -> Sequence[str] | None:
        """The caption of every example, for text models."""
        from memshield.data.batches import captions_of

        return captions_of(self.source, self.examples) if self.facts.needs_captions else None


@dataclass
class Preparation:
    """What is known of a run, as far as its problems let it be found.

    Attributes:
        config: with what the launch, the model and the dataset settle filled in.
        problems: all that stands in the way.
        facts: of the model.
        source: of the pictures.
        scan: of the pictures; None for a run that goes on, whose table is read.
        examples: the table.
        budget: steps of every shard in every round.
    """

    config: Config
    problems: Problems = field(default_factory=Problems)
    facts: Facts | None = None
    source: Source | None = None
    scan: Scan | None = None
    examples: Examples | None = None
    budget: Budget | None = None

    def job(self) -> Job:
        """The run, to be trained.

        Raises:
            UserError: every problem that was found.
        """
        self.problems.refuse()
        assert self.facts is not None
        assert self.source is not None
        assert self.examples is not None
        assert self.budget is not None
        return Job(self.config, self.facts, self.source, self.examples, self.budget)


Step = Callable[[Preparation], None]
"""Looks for something or checks something; raises UserError."""


def prepare(
    config: Config,
    *,
    model: Callable[[Config], Facts | None] = read_facts,
    checks: Sequence[Step] = (),
    pictures: Step | None = None,
    at_once: bool = False,
) -> Preparation:
    """Find out what a config comes to, the cheap part first.

    Args:
        config: settings.
        model: reads what the model is; None where that is not known.
        checks: made once the model is known, before any picture is read.
        pictures: finds them; by default `scan_pictures`.
        at_once: go on after a problem, to find all others too. Otherwise the model's problems are
            raised before the checks, and those before the pictures are read.

    Raises:
        UserError: a problem, unless `at_once`.
    """
    found = Preparation(config)
    problems = found.problems
    with problems.keep():
        found.config = resolve_launch(config)
    with problems.keep():
        found.facts = model(found.config)
        if found.facts is not None:
            found.config = resolve(found.config, found.facts)
    if not at_once:
        problems.refuse()
    for check in checks:
        with problems.keep():
            check(found)
    if not at_once:
        problems.refuse()
    with problems.keep():
        (pictures or scan_pictures)(found)
    if found.examples is not None:
        _check_counts(found, found.examples)
    if not at_once:
        problems.refuse()
    return found


def _check_counts(found: Preparation, examples: Examples) -> None:
    with found.problems.keep():
        found.budget = budget_of(found.config, examples)
    if found.facts is not None:
        with found.problems.keep():
            can_cache(found.config, found.facts, examples)
    with found.problems.keep():
        require_auditable(found.config, examples)


def check_hardware(found: Preparation) -> None:
    """Refuse a precision that this machine has not."""
    require_hardware(found.config)


def check_noise_level(found: Preparation) -> None:
    """Refuse biased draws at a noise level that the model has not."""
    if found.facts is not None:
        require_noise_level(found.config, found.facts)


def scan_pictures(found: Preparation) -> None:
    """Open the dataset, decode every picture, and split them."""
    source = _open(found)
    found.scan = scan(found.config, source)
    found.examples = found.scan.examples
    needs_captions = found.facts is not None and found.facts.needs_captions
    if needs_captions and found.scan.empty_captions == len(found.examples):
        raise UserError(
            "caption_column",
            f"every caption in {source.columns.caption!r} is empty",
            "Add captions.",
        )


def take_pictures(found: Preparation, examples: Examples) -> None:
    """Open the dataset of a run that goes on, with the table that it was started with."""
    require_same_dataset(examples, _open(found))
    found.examples = examples


def _open(found: Preparation) -> Source:
    source = found.source = open_source(SourceSettings.of(found.config))
    found.config = found.config.model_copy(update={"dataset_revision": source.revision})
    if found.facts is not None and found.facts.needs_captions and source.columns.caption is None:
        raise UserError(
            "caption_column",
            "this model is conditioned on text and the dataset has no captions "
            f"(columns: {', '.join(source.there)})",
            "Name the column, or add captions (a folder takes metadata.jsonl: file_name, text).",
        )
    return source
