"""The choices made in the form, and the config that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from memshield.config.mitigation import PLAIN
from memshield.config.shipped import APP_ROOT
from memshield.errors import UserError
from memshield.forecast.hardware import Machine
from memshield.forecast.size_defaults import fitted
from memshield.hub.catalog.access import require_id
from memshield.network import RepoType
from memshield.ui.form.recipes import Recipe, RecipeName, recipes
from memshield.ui.form.strengths import share_of


@dataclass(frozen=True)
class Choices:
    """The values of the form. The recipe, the dataset or the model decides what is None.

    Strength is one number for the mitigation. At 0 training is plain: one shard, no skipped
    samples, all noise levels drawn alike. The higher it is, the fewer draws are at noise levels at
    which copies are learned (`share_of`); shards and the skip threshold stay as the recipe or the
    form sets them.

    Attributes:
        recipe: gives the settings to start from.
        model: Hub id of the pipeline to fine-tune or, for a recipe that trains from scratch, of a
            UNet's config; None for the recipe's own.
        dataset: Hub id of the pictures.
        dataset_config, split: which part of the dataset.
        folder: pictures on this machine instead of a dataset. On a Space it is
            the owner's tray, never a path from a visitor.
        uploaded: whether `folder` is an upload, whose path is of no use elsewhere.
        image_column, caption_column, label_column: None to find them by type and name.
        epochs: passes over the pictures.
        rounds: how often the proxies are aggregated.
        shards: parts of the training set; one at strength 0.
        strength: of the mitigation, 0 to 1.
        budget: stop once more than this share of generated pictures is given back beyond chance.
        never_stop: no budget, not even the recipe's.
        resolution: side of the pictures in pixels.
        hub_model_id: repository to publish to after training; None to keep the model here.
        private: whether a new repository is private.
        confirm: confirmed warnings; see `hub_confirm`.
        advanced: other settings by name; they override everything above.
    """

    recipe: RecipeName = "demo"
    model: str | None = None
    dataset: str | None = None
    dataset_config: str | None = None
    split: str | None = None
    folder: Path | None = None
    uploaded: bool = False
    image_column: str | None = None
    caption_column: str | None = None
    label_column: str | None = None
    epochs: int | None = None
    rounds: int | None = None
    shards: int | None = None
    strength: float | None = None
    budget: float | None = None
    never_stop: bool = False
    resolution: int | None = None
    hub_model_id: str | None = None
    private: bool = True
    confirm: tuple[str, ...] = ()
    advanced: Mapping[str, Any] = field(default_factory=dict)

    @property
    def starting_point(self) -> Recipe:
        """The recipe itself."""
        return recipes()[self.recipe]


INPUTS: Mapping[str, str] = {
    "pretrained_model_name_or_path": "model",
    "model_config_name_or_path": "model",
    "dataset_name": "dataset",
    "train_data_dir": "folder",
    "dataset_config_name": "dataset_config",
    "dataset_split": "split",
    "image_column": "image_column",
    "caption_column": "caption_column",
    "label_column": "label_column",
    "num_train_epochs": "epochs",
    "num_rounds": "rounds",
    "num_shards": "shards",
    "timestep_bias_share": "strength",
    "memorization_budget": "budget",
    "resolution": "resolution",
    "hub_model_id": "hub_model_id",
    "push_to_hub": "hub_model_id",
    "hub_private_repo": "private",
    "hub_confirm": "confirm",
    "HF_TOKEN": "sign_in",
}
"""The form's input of a setting; any other setting is an input of its own name."""


DERIVED = frozenset(
    {
        "train_batch_size",
        "gradient_accumulation_steps",
        "lr_warmup_steps",
        "mixed_precision",
        *PLAIN,
    }
)
"""Settings that `to_config` may set to other values than the recipe's."""


def input_of(setting: str, choices: Choices) -> str:
    """The name of the form's input that an error about a setting belongs to."""
    if choices.folder is not None and setting == "dataset_name":
        return "folder"
    return INPUTS.get(setting, setting)


def to_config(
    choices: Choices,
    rows: int | None = None,
    machine: Machine | None = None,
    resolution: int | None = None,
) -> dict[str, Any]:
    """Derive the settings, for `make_config` or a YAML file.

    Paths of the app's own files are relative to its checkout; see `on_this_machine`.

    Args:
        choices: the form.
        rows: number of pictures of the split, if known: batch and warm-up follow from it.
        machine: that will train; None for a GPU with bf16.
        resolution: the model's own, if known: a pixel model's batch follows from it.

    Returns:
        Plain values by setting, without `output_dir`.
    """
    values = dict(choices.starting_point.settings)
    given: dict[str, Any] = {
        "dataset_name": _id(choices.dataset, "dataset"),
        "dataset_config_name": choices.dataset_config,
        "dataset_split": choices.split,
        "train_data_dir": None if choices.folder is None else str(choices.folder),
        "image_column": choices.image_column,
        "caption_column": choices.caption_column,
        "label_column": choices.label_column,
        "num_train_epochs": choices.epochs,
        "num_rounds": choices.rounds,
        "num_shards": choices.shards,
        "timestep_bias_share": (
            share_of(choices.strength, choices.starting_point.captions)
            if choices.strength
            else None
        ),
        "memorization_budget": choices.budget,
        "resolution": choices.resolution,
    }
    if choices.model is not None:
        scratch = choices.starting_point.scratch
        given["model_config_name_or_path" if scratch else "pretrained_model_name_or_path"] = _id(
            choices.model, "model"
        )
    if choices.dataset is not None or choices.folder is not None:
        values.pop("dataset_name", None)
    values |= {name: value for name, value in given.items() if value is not None}
    if choices.never_stop and choices.budget is None:
        values.pop("memorization_budget", None)
    if choices.strength == 0:
        values |= PLAIN
    if machine is not None and "mixed_precision" in values:
        values["mixed_precision"] = machine.precision(choices.starting_point.family)
    if choices.hub_model_id is not None:
        values |= {
            "push_to_hub": True,
            "hub_model_id": choices.hub_model_id,
            "hub_private_repo": choices.private,
        }
        if choices.confirm:
            values["hub_confirm"] = list(choices.confirm)
    if rows is not None:
        side = (
            None
            if choices.starting_point.family != "unconditional"
            else (choices.resolution or resolution)
        )
        values |= fitted({**values, **choices.advanced}, rows, side)
    return {**values, **choices.advanced}


def _id(text: str | None, repo_type: RepoType) -> str | None:
    """Turn the address of a page into an id; `problems_of` reports what is not valid."""
    if text is None:
        return None
    try:
        return require_id(text, repo_type)
    except UserError:
        return text


def on_this_machine(values: Mapping[str, Any]) -> dict[str, Any]:
    """Make the paths of the app's own files absolute, for a job."""
    own = values.get("model_config_name_or_path")
    if isinstance(own, str) and own.startswith("configs/") and (APP_ROOT / own).is_file():
        return {**values, "model_config_name_or_path": str(APP_ROOT / own)}
    return dict(values)


def to_yaml(choices: Choices, values: Mapping[str, Any]) -> str:
    """Write the settings as a file to train with in a checkout.

    Args:
        choices: the form.
        values: from `to_config`.
    """
    lines = [
        "# Save as FILE in a checkout of MemShield, and there:",
        "#   accelerate launch -m memshield.train --config FILE",
    ]
    shown = dict(values)
    if choices.uploaded and "train_data_dir" in shown:
        shown["train_data_dir"] = "my-pictures"
        lines.append("# The pictures were uploaded: put yours into my-pictures, or name a folder.")
    return "\n".join(lines) + "\n" + yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)
