"""The subject of an audit: a run's chosen model or a round, or any pipeline with its dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from memshield.audit.auditing import mitigation_of
from memshield.audit.held_out import PLACES, with_fresh
from memshield.audit.reference import Reference, shown_name
from memshield.audit.report import AuditedModel
from memshield.audit.watch_record import WatchRecord
from memshield.config.file import Config, make_config, read_yaml
from memshield.data.examples import Examples
from memshield.data.requirements import budget_of
from memshield.data.scan import require_same_dataset
from memshield.data.source import SourceSettings, open_source
from memshield.digests import weights_sha256
from memshield.errors import UserError
from memshield.families import Facts, load, read_facts, resolve
from memshield.families.base import Family, Placement
from memshield.families.kinds import FLOW
from memshield.families.lora_repository import Lora, open_model, require_prompted
from memshield.rundir import RunDir


@dataclass(frozen=True)
class Subject:
    """A model with the pictures that it was trained on.

    Attributes:
        target: what to call it.
        config: resolved.
        facts: of the model.
        reference: the real pictures.
        weights: folder to load into the base, or None for the base as it is.
        run: whose model it is; None for what is no run's.
        lora: of another trainer, that goes on the base; None for none.
    """

    target: AuditedModel
    config: Config
    facts: Facts
    reference: Reference
    weights: Path | None
    run: RunDir | None = None
    lora: Lora | None = None

    def load(self, device: torch.device) -> Family:
        """The model with its weights, in the precision it was trained in where the device has it.

        Raises:
            UserError: the weights are not those of this model.
        """
        config = self.config
        if device.type == "cpu" and config.mixed_precision == "fp16":
            config = config.model_copy(update={"mixed_precision": "no"})
        family = load(config, self.facts, Placement.of(config, device))
        if self.weights is not None:
            family.load_saved(self.weights)
        if self.lora is not None:
            family.fuse_lora(self.lora.fetch(), self.lora.file)
        return family

    @property
    def validation_prompts(self) -> tuple[str, ...]:
        """The prompts that its owner wrote to look at samples."""
        return tuple(self.config.validation_prompts or ())

    def base(self) -> Subject:
        """The pipeline that was fine-tuned, before any training.

        Raises:
            UserError: the model was trained from scratch, or its base is not known.
        """
        if self.config.pretrained_model_name_or_path is None:
            raise UserError(
                "beside", "the run was trained from scratch: it has no base", "Leave it out."
            )
        if self.run is None and self.lora is None:
            raise UserError(
                "beside",
                f"what {self.target.name} was fine-tuned from is not known",
                "Audit its base by itself, on the same pictures, and name that audit's folder.",
            )
        target = AuditedModel(name=self.target.base or "base", kind="pipeline", base=None)
        return replace(self, target=target, weights=None, run=None, lora=None)

    def watch(self, round: int | None) -> WatchRecord | None:
        """The watch of its held-out loss until a round of its run ended, if it was watched.

        Args:
            round: its number; None for the run's chosen model.
        """
        if self.run is None or not self.run.watch.is_file():
            return None
        return watch_of(self.run, self.config, Examples.read(self.run.examples), round)


def open_run(path: Path, round: int | None, moved: dict[str, Any]) -> Subject:
    """A run, with the very pictures that it was trained on.

    Args:
        path: the run directory.
        round: number of a round; None for the chosen model.
        moved: of `PLACES`, where the dataset was moved to.

    Raises:
        UserError: there is no such run or round, or the dataset is not the run's.
    """
    run = RunDir(path)
    if not run.is_run() or not run.examples.is_file():
        raise UserError(
            "target", f"{path} holds no run", "Give the output_dir of a training, or a pipeline."
        )
    config = make_config(read_yaml(run.config))
    if moved:
        places = dict.fromkeys(PLACES) | {"dataset_revision": None}
        config = make_config({**config.model_dump(), **places, **moved})
    weights = run.model if round is None else run.rounds / str(round)
    if not weights.is_dir():
        raise UserError(
            "round",
            f"{path} has no {weights.relative_to(run.path)} yet",
            f"It has the rounds: {', '.join(map(str, run.round_numbers())) or 'none'}.",
        )
    config, facts, reference = _of_run(run, config)
    target = AuditedModel(
        name=run.path.resolve().name,
        kind="run",
        round=round,
        base=shown_name(config.pretrained_model_name_or_path),
        revision=config.revision,
        mitigation=mitigation_of(config),
        weights=weights_sha256(weights),
    )
    return Subject(target, config, facts, reference, weights, run)


def pictures_of(run: RunDir) -> Reference:
    """The pictures that a run was trained on, whether or not it has a model.

    Raises:
        UserError: they cannot be read, are not the run's any more, or are too few.
    """
    return _of_run(run, make_config(read_yaml(run.config)))[2]


def _of_run(run: RunDir, config: Config) -> tuple[Config, Facts, Reference]:
    facts = read_facts(config, to_train=False)
    config = resolve(config, facts)
    source, examples = open_source(SourceSettings.of(config)), Examples.read(run.examples)
    require_same_dataset(examples, source)
    return config, facts, Reference.of_run(config, facts.channels, source, examples, run)


def open_pipeline(
    name: str,
    settings: dict[str, Any],
    fresh: dict[str, Any],
    base: str | None = None,
    weight_name: str | None = None,
) -> Subject:
    """Any pipeline, or a LoRA on its base, with the dataset that it was trained on.

    Args:
        name: Hub id or folder.
        settings: of the dataset, by their names in a config.
        fresh: settings that differ for pictures it was not trained on; {} for none.
        base: of a LoRA; None for what the LoRA says.
        weight_name: file of a LoRA, where there are several.

    Raises:
        UserError: the pipeline or the dataset cannot be had, or is of no known kind.
    """
    repository, lora = open_model(
        name, settings.get("revision"), base=base, weight_name=weight_name
    )
    whole = {"training": "full", **settings, "pretrained_model_name_or_path": name}
    if lora is None:
        config = make_config(whole)
        facts = read_facts(config, repository, to_train=False)
    else:
        # The revision is the LoRA's.
        config = make_config(
            {**whole, "pretrained_model_name_or_path": lora.base, "revision": None}
        )
        facts = read_facts(config, to_train=False)
        require_prompted(lora, facts)
    if facts.family in FLOW and config.max_sequence_length is None:
        # As whoever uses it draws; a run's own is that of its training.
        stock = FLOW[facts.family].stock_length
        config = config.model_copy(update={"max_sequence_length": stock})
    config = resolve(config, facts)
    target = AuditedModel(
        name=str(shown_name(name)),
        kind="pipeline",
        base=None if lora is None else shown_name(lora.base),
        revision=repository.revision,
    )
    reference = Reference.of_dataset(config, facts.channels, with_fresh(config, fresh))
    if facts.needs_captions and reference.captions is None:
        raise UserError(
            "caption_column",
            "this model draws what captions say, and the dataset has none",
            "Name the column of captions; in a folder, put them into metadata.jsonl.",
        )
    return Subject(target, config, facts, reference, None, lora=lora)


def watch_of(
    run: RunDir, config: Config, examples: Examples, round: int | None
) -> WatchRecord | None:
    """The watch of a run until a round ended; None where nothing was watched by then.

    Args:
        run: the run directory.
        config: its settings, resolved.
        examples: its table.
        round: number of the round; None for the run's model, a copy of one of them. Where it
            cannot be told which, the watch is that of the whole run.
    """
    record = WatchRecord.read(run.watch) if config.watches else None
    if record is None:
        return None
    number = round if round is not None else run.round_of_model()
    if number is not None:
        record = record.until(budget_of(config, examples).round_end(number - 1))
    return record if record.checks else None
