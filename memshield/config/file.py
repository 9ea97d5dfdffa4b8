"""The config of a run: one schema for YAML files, flags and forms. Imports no torch."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError, ValidationInfo, model_validator
from pydantic.fields import FieldInfo

from memshield.config.buckets import problem_of_text
from memshield.config.flow import FlowSettings
from memshield.config.memory import MemorySettings
from memshield.config.rules import words_of_rule
from memshield.config.schema import (
    AuditSettings,
    DataSettings,
    HubSettings,
    MethodSettings,
    ModelSettings,
    OutputSettings,
    Settings,
    TrainingSettings,
)
from memshield.errors import UserError, UserErrors

Part = Literal["model", "dataset"]

# What looks like a setting and is none, most of it flags of diffusers' examples, and what to do.
NOT_SETTINGS = {
    "preset": "give it on the command line, as --preset 24gb",
    "hub_token": "set HF_TOKEN or run `hf auth login`: a token is never a setting",
    "enable_xformers_memory_efficient_attention": "not needed: attention runs through torch's own "
    "scaled_dot_product_attention",
    "logging_dir": "trackers write under <output_dir>/logs",
    "cache_dir": "set HF_HOME in the environment",
    "local_rank": "set by accelerate launch",
    "save_images_epochs": "a grid of samples is made at the end of every round: num_rounds",
    "save_model_epochs": "the aggregate of every round is saved: num_rounds",
    "checkpointing_epochs": "use checkpointing_steps",
    "eval_batch_size": "use num_validation_images",
}


class Config(
    HubSettings,
    AuditSettings,
    OutputSettings,
    MemorySettings,
    TrainingSettings,
    FlowSettings,
    MethodSettings,
    DataSettings,
    ModelSettings,
):
    """All settings of a run. Frozen; `families.resolve` fills in what depends on the model."""

    @property
    def audit_interval(self) -> int | None:
        """Rounds from one audit to the next; None for no audits."""
        every = 1 if self.memorization_budget is not None else None
        return self.audit_every_rounds or every

    @property
    def watches(self) -> bool:
        """Whether the held-out loss is watched while training."""
        return self.stop_levels or self.loss_bank_reference == "held_out"

    @model_validator(mode="before")
    @classmethod
    def _single_values_make_lists(cls, values: Any) -> Any:
        if isinstance(values, dict):
            if values.get("mixed_precision") is False:
                # YAML reads a bare no as false.
                values = {**values, "mixed_precision": "no"}
            for name in ("validation_prompts", "validation_prompt", "report_to", "hub_confirm"):
                if isinstance(values.get(name), str):
                    values = {**values, name: [values[name]]}
        return values

    @model_validator(mode="after")
    def _fields_agree(self, info: ValidationInfo) -> Config:
        without = (info.context or {}).get("without", ())
        errors = [*_unnamed(self, without), *_empty(self), *_conflicts(self)]
        if errors:
            raise UserErrors(errors)
        return self


GROUPS: tuple[type[Settings], ...] = (
    ModelSettings,
    DataSettings,
    MethodSettings,
    TrainingSettings,
    FlowSettings,
    MemorySettings,
    OutputSettings,
    AuditSettings,
    HubSettings,
)
TRACKERS = ("tensorboard", "trackio", "wandb")


ONE_OF: dict[Part, tuple[str, str, str]] = {
    "model": (
        "pretrained_model_name_or_path",
        "model_config_name_or_path",
        "Name the pipeline to fine-tune, or a UNet2DModel config to train from scratch.",
    ),
    "dataset": (
        "dataset_name",
        "train_data_dir",
        "Name a dataset, or give a folder of pictures as train_data_dir.",
    ),
}
"""Two settings of which exactly one is given, and what to do where none is."""


def _unnamed(config: Config, without: Collection[Part]) -> list[UserError]:
    errors = []
    for part, (first, second, remedy) in ONE_OF.items():
        missing = (getattr(config, first), getattr(config, second)).count(None)
        if missing == 0:
            both = f"it and {second} are both given, and exactly one of them is needed"
            errors.append(UserError(first, both, "Leave one of them out."))
        elif missing == 2 and part not in without:
            errors.append(UserError(first, f"exactly one of it and {second} is needed", remedy))
    return errors


def _empty(config: Config) -> list[UserError]:
    """Texts without a letter, which libraries take for this folder or for nothing."""
    return [
        UserError(name, "must not be empty", f"Leave it out, or give: {field.description}")
        for name, field in fields().items()
        if getattr(config, name) == ""
    ]


def _conflicts(config: Config) -> list[UserError]:
    errors = []
    if config.push_to_hub and not config.hub_model_id:
        errors.append(
            UserError(
                "hub_model_id",
                "push_to_hub needs the repository to publish to",
                "Name it: owner/name.",
            )
        )
    for tracker in config.report_to or ():
        if tracker not in TRACKERS:
            errors.append(
                UserError(
                    "report_to", f"unknown tracker {tracker!r}", f"One of: {', '.join(TRACKERS)}."
                )
            )
    if config.num_shards == 1 and (config.outer_learning_rate, config.outer_momentum) != (1, 0):
        errors.append(
            UserError(
                "outer_learning_rate",
                "an outer optimizer follows the mean of several shards, and num_shards is 1",
                "Leave outer_learning_rate and outer_momentum out.",
            )
        )
    buckets = problem_of_text(config) if config.aspect_ratio_buckets else None
    if buckets is not None:
        errors.append(buckets)
    most = config.max_train_steps
    if most is not None and config.lr_warmup_steps > most:
        errors.append(
            UserError(
                "lr_warmup_steps",
                f"{config.lr_warmup_steps} is more than max_train_steps {most}",
                "Warm up for a part of the run only.",
            )
        )
    return errors


def fields() -> dict[str, FieldInfo]:
    """Every setting by name, in the order in which help and files show them."""
    return {name: Config.model_fields[name] for group in GROUPS for name in group.model_fields}


def may_differ_on_resume(name: str) -> bool:
    """Whether a resumed run may have another value of this setting than the one it goes on from."""
    extra = fields()[name].json_schema_extra
    return bool(isinstance(extra, dict) and extra["free"])


def unknown_setting(name: str) -> UserError:
    """The error for a key or flag that is no setting, with the nearest right name."""
    if name in NOT_SETTINGS:
        return UserError(name, "not a setting of MemShield", NOT_SETTINGS[name] + ".")
    near = difflib.get_close_matches(name, [*fields(), "validation_prompt"], n=1, cutoff=0.5)
    return UserError(
        name,
        "unknown setting",
        f"Did you mean {near[0]}?" if near else "See `python -m memshield.train --help`.",
    )


def make_config(values: dict[str, Any], *, without: Collection[Part] = ()) -> Config:
    """Validate plain values into a `Config`.

    Args:
        values: by the settings' names.
        without: what need not be named, where it does not matter or is not known yet.

    Raises:
        UserErrors: every unknown name, broken rule and contradiction found, at once.
    """
    known = {*fields(), "validation_prompt"}
    unknown = [unknown_setting(str(name)) for name in values if name not in known]
    if unknown:
        raise UserErrors(unknown)
    try:
        return Config.model_validate(values, context={"without": without})
    except ValidationError as error:
        raise UserErrors([_readable(dict(detail)) for detail in error.errors()]) from None


def _readable(detail: dict[str, Any]) -> UserError:
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, UserError):
        return cause
    name = str(detail["loc"][0])
    if detail["type"] == "extra_forbidden" and name == "validation_prompt":
        return UserError(name, "given beside validation_prompts", "Give one of the two.")
    described = "validation_prompts" if name == "validation_prompt" else name
    return UserError(name, words_of_rule(detail), fields()[described].description or "")


class _Loader(yaml.SafeLoader):
    """Refuses a name that stands twice, of which YAML's own readers take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [
            self.construct_object(name, deep=True)
            for name, _ in node.value
            if name.tag != "tag:yaml.org,2002:merge"  # what it brings gives way to the rest
        ]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise yaml.YAMLError(f"{twice[0]} stands there twice")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a YAML file, not yet validated.

    Raises:
        UserError: no such file, not YAML, or not a mapping of settings.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            "--config", f"cannot read {path}: {error.strerror}", "Check the path."
        ) from None
    except UnicodeDecodeError:
        raise UserError("--config", f"{path} is not a text file", "Give a YAML file.") from None
    try:
        values = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:
        # YAML's own readers pass on what Python says of a date or a number that cannot be.
        raise UserError(
            "--config", f"{path} is not valid YAML: {error}", "Mend the file."
        ) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError("--config", f"{path} holds no mapping", "Write one `name: value` a line.")
    return values


def to_yaml(config: Config) -> str:
    """The whole config as YAML, grouped as in the help; reading it back gives the same config."""
    values = config.model_dump()
    parts = []
    for group in GROUPS:
        dumped = yaml.safe_dump(
            {name: values[name] for name in group.model_fields}, sort_keys=False, allow_unicode=True
        )
        parts.append(f"# {group.__doc__}\n{dumped}")
    return "\n".join(parts)


def differing_fields(new: Config, old: Config) -> list[str]:
    """Names of the settings that differ between two configs and may not on resume."""
    return [
        name
        for name in fields()
        if getattr(new, name) != getattr(old, name) and not may_differ_on_resume(name)
    ]


def cache_root() -> Path:
    """Where encoded pictures are kept: MEMSHIELD_CACHE, or the user's own cache folder."""
    fallback = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "memshield"
    return Path(os.environ.get("MEMSHIELD_CACHE") or fallback)
