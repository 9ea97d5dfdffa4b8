"""From a config to a run that can be trained: what is found, and what is wrong. Imports no torch.

`train`, its dry run, the plan and the page all prepare here. They differ in how they find the
pictures, in what they check besides, and in whether a problem ends the preparation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from memshield.audit.sample_size import require_auditable
from memshield.config.file import Config
from memshield.data.examples import Examples
from memshield.data.requirements import budget_of, can_cache
from memshield.data.scan import Scan, require_same_dataset, scan
from memshield.data.source import Source, SourceSettings, open_source
from memshield.errors import Problems, UserError
from memshield.families import Facts, read_facts, require_noise_level, resolve
from memshield.families.buckets import settle_sizes
from memshield.families.caption_lengths import CutCaptions, find_cut_captions
from memshield.step_budget import StepBudget
from memshield.training.launch import require_hardware, resolve_launch


@dataclass(frozen=True)
class PreparedRun:
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
    budget: StepBudget

    def captions(self) -> Sequence[str] | None:
        """The caption of every example, for text models."""
        from memshield.data.batches import captions_of

        return captions_of(self.source, self.examples) if self.facts.needs_captions else None

    def cut_captions(self) -> CutCaptions | None:
        """Captions to train on that are longer than the text encoder takes; None without such."""
        captions = self.captions()
        if captions is None:
            return None
        members = [captions[index] for index in self.examples.members()]
        return find_cut_captions(self.config, self.facts, members)


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
    budget: StepBudget | None = None

    def prepared_run(self) -> PreparedRun:
        """The run, to be trained.

        Raises:
            UserError: every problem that was found.
        """
        self.problems.refuse()
        assert self.facts is not None
        assert self.source is not None
        assert self.examples is not None
        assert self.budget is not None
        return PreparedRun(self.config, self.facts, self.source, self.examples, self.budget)


PreparationCheck = Callable[[Preparation], None]
"""Raises UserError where something is wrong with what has been found so far."""


def check_hardware(preparation: Preparation) -> None:
    """Refuse a precision that this machine has not."""
    require_hardware(preparation.config)


def check_noise_level(preparation: Preparation) -> None:
    """Refuse biased draws at a noise level that the model has not."""
    if preparation.facts is not None:
        require_noise_level(preparation.config, preparation.facts)


def check_network(preparation: Preparation) -> None:
    """Refuse a model to train from scratch that cannot be built."""
    if preparation.facts is not None:
        from memshield.families.size import require_buildable

        require_buildable(preparation.config, preparation.facts)


def scan_pictures(preparation: Preparation) -> None:
    """Open the dataset, decode every picture, and split them."""
    source = _open(preparation)
    preparation.scan = scan(preparation.config, source)
    preparation.examples = preparation.scan.examples
    needs_captions = preparation.facts is not None and preparation.facts.needs_captions
    if needs_captions and preparation.scan.empty_captions == len(preparation.examples):
        raise UserError(
            "caption_column",
            f"every caption in {source.columns.caption!r} is empty",
            "Add captions.",
        )


def reopen_pictures(preparation: Preparation, examples: Examples) -> None:
    """Open the dataset of a run that goes on, with the table that it was started with."""
    require_same_dataset(examples, _open(preparation))
    preparation.examples = examples


def _open(preparation: Preparation) -> Source:
    source = preparation.source = open_source(SourceSettings.of(preparation.config))
    config = preparation.config.model_copy(update={"dataset_revision": source.revision})
    if preparation.facts is not None:
        config = settle_sizes(config, preparation.facts)
    preparation.config = config
    if (
        preparation.facts is not None
        and preparation.facts.needs_captions
        and source.columns.caption is None
    ):
        raise UserError(
            "caption_column",
            "this model is conditioned on text and the dataset has no captions "
            f"(columns: {', '.join(source.there)})",
            "Name the column, or add captions (a folder takes metadata.jsonl: file_name, text).",
        )
    return source


def prepare(
    config: Config,
    *,
    model: Callable[[Config], Facts | None] = read_facts,
    checks: Sequence[PreparationCheck] = (),
    pictures: Callable[[Preparation], None] = scan_pictures,
    at_once: bool = False,
) -> Preparation:
    """Find out what a config comes to, the cheap part first.

    Args:
        config: settings.
        model: reads what the model is; None where that is not known.
        checks: made once the model is known, before any picture is read.
        pictures: finds them.
        at_once: go on after a problem, to find all others too. Otherwise the model's problems are
            raised before the checks, and those before the pictures are read.

    Raises:
        UserError: a problem, unless `at_once`.
    """
    preparation = Preparation(config)
    problems = preparation.problems
    with problems.keep():
        preparation.config = resolve_launch(config)
    with problems.keep():
        preparation.facts = model(preparation.config)
        if preparation.facts is not None:
            preparation.config = resolve(preparation.config, preparation.facts)
    if not at_once:
        problems.refuse()
    for check in checks:
        with problems.keep():
            check(preparation)
    if not at_once:
        problems.refuse()
    with problems.keep():
        pictures(preparation)
    if preparation.examples is not None:
        _check_counts(preparation, preparation.examples)
    if not at_once:
        problems.refuse()
    return preparation


def _check_counts(preparation: Preparation, examples: Examples) -> None:
    with preparation.problems.keep():
        preparation.budget = budget_of(preparation.config, examples)
    if preparation.facts is not None:
        with preparation.problems.keep():
            can_cache(preparation.config, preparation.facts, examples)
    with preparation.problems.keep():
        require_auditable(preparation.config, examples)
