"""Problems that prevent a training, each with the input that it belongs to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from memshield.config.file import Config, Part, make_config
from memshield.config.shipped import APP_ROOT
from memshield.errors import UserError, collect_errors
from memshield.families.facts import Facts
from memshield.forecast.hardware import Machine
from memshield.forecast.problems import find_problems
from memshield.hub.account import require_token
from memshield.hub.catalog.access import require_id
from memshield.hub.catalog.model import read_strangers_facts
from memshield.network import RepoType, Token
from memshield.ui.form.advanced import parse_advanced
from memshield.ui.form.choices import Choices, input_of, on_this_machine, to_config
from memshield.ui.form.dataset_check import inspect_pictures
from memshield.ui.form.recipes import recipe_for, recipes

_LONGEST = 500
_LARGEST = 1e15


def problems_of(
    choices: Choices,
    *,
    token: Token,
    rows: int | None = None,
    machine: Machine | None = None,
    at_home: bool | None = None,
) -> list[UserError]:
    """List every problem that can be known before anything is downloaded or computed.

    The page calls it before every submission, whatever it has shown so far: only this refuses ids
    that are local folders and settings that are not offered.

    Args:
        choices: the form.
        token: of the visitor; False for one who is signed out. None, the machine's own, is for a
            page at home only.
        rows: number of pictures of the split, if known.
        machine: that will train.
        at_home: whether nobody signs in to the page; by default where the token is the machine's.

    Returns:
        Errors whose `field` names an input of the form; [] if the training can start.
    """
    problems = _Problems(token is None if at_home is None else at_home)
    odd = type_problems(choices)
    if odd:
        return odd
    with collect_errors(problems.errors):
        require_token(token)
    if problems.errors:
        return problems.by_input(choices)
    problems.errors += _id_problems(choices)
    with collect_errors(problems.errors):
        parse_advanced(choices.advanced, choices.starting_point)
    refused = {error.field for error in problems.errors}
    # Refused names are not looked up, and settings that are not offered are not used.
    facts, pictures = None, None
    if not refused & set(choices.advanced):
        if "pretrained_model_name_or_path" not in refused:
            facts = _model(problems, choices, token)
        if not refused & {"dataset_name", "train_data_dir"}:
            with collect_errors(problems.errors):
                pictures = inspect_pictures(
                    choices, token, facts is not None and facts.needs_captions
                )
    if rows is None and pictures is not None:
        rows = pictures.rows
    config = _settings(
        problems, choices, rows, machine, None if facts is None else facts.resolution
    )
    if config is not None:
        problems.errors += find_problems(
            config,
            facts=None if refused else facts,
            rows=rows,
            machine=machine,
            token=token,
            downloads=not refused and pictures is not None and pictures.on_hub,
            publishes=not refused and config.hub_model_id is not None,
        )
    return problems.by_input(choices)


def type_problems(choices: Choices) -> list[UserError]:
    """List values of the wrong type, which a program may send; fields are the form's inputs."""
    if not isinstance(choices.recipe, str) or choices.recipe not in recipes():
        return [UserError("recipe", "there is no such recipe", "Choose one from the list.")]
    texts = ("model", "dataset", "dataset_config", "split", "image_column", "caption_column",
             "label_column", "hub_model_id")  # fmt: skip
    errors = []
    for name in texts:
        value = getattr(choices, name)
        if value is not None and (not isinstance(value, str) or len(value) > _LONGEST):
            errors.append(UserError(name, "is not a short text", "Type it again."))
    for name in ("epochs", "rounds", "shards", "strength", "budget", "resolution"):
        value = getattr(choices, name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (is_number and abs(value) < _LARGEST):
            errors.append(UserError(name, "is not a number", "Give a number."))
        elif name == "strength" and value is not None and not 0 <= value <= 1:
            errors.append(UserError(name, f"{value:g} is not between 0 and 1", "Give a share."))
    advanced: object = choices.advanced
    if not isinstance(advanced, Mapping):
        errors.append(UserError("advanced", "is not a mapping of settings", "Name each setting."))
    return errors


class _Problems:
    """The problems so far; fields are settings."""

    def __init__(self, at_home: bool) -> None:
        self.errors: list[UserError] = []
        self.at_home = at_home

    def by_input(self, choices: Choices) -> list[UserError]:
        """List each problem once, under its input."""
        named: dict[tuple[str, str], UserError] = {}
        for error in self.errors:
            field = input_of(error.field, choices)
            moved = error.moved(field)
            # At home there is no sign-in: the token is the machine's, or was typed.
            if field == "sign_in" and not self.at_home:
                moved = UserError(field, error.problem, "Sign in with Hugging Face.")
            named.setdefault((field, error.problem), moved)
        return list(named.values())


def _settings(
    problems: _Problems,
    choices: Choices,
    rows: int | None,
    machine: Machine | None,
    resolution: int | None = None,
) -> Config | None:
    """Build the config, if it follows every rule of the schema."""
    values = on_this_machine(to_config(choices, rows, machine, resolution))
    # The other rules are checked without what is refused already.
    already = {input_of(error.field, choices) for error in problems.errors}
    errors: list[UserError] = []
    with collect_errors(errors):
        return _config_without(values, already)
    problems.errors += [one for one in errors if input_of(one.field, choices) not in already]
    return None


def _config_without(values: Mapping[str, Any], wrong: Collection[str]) -> Config:
    """Build the config without what is refused already."""
    kept = {name: value for name, value in values.items() if name not in wrong}
    without: list[Part] = []
    if "model" in wrong:
        without.append("model")
        kept.pop("model_config_name_or_path", None)
        kept.pop("pretrained_model_name_or_path", None)
    if "dataset" in wrong or "folder" in wrong:
        without.append("dataset")
        kept.pop("train_data_dir", None)
        kept.pop("dataset_name", None)
    return make_config(kept, without=without)


def _model(problems: _Problems, choices: Choices, token: Token) -> Facts | None:
    """Look up the model with few settings, so that an error in another one hides nothing."""
    values = on_this_machine(to_config(choices))
    names = ("pretrained_model_name_or_path", "model_config_name_or_path", "revision", "variant",
             "pretrained_vae_model_name_or_path", "resolution")  # fmt: skip
    asked = {name: values[name] for name in names if values.get(name) is not None}
    facts = None
    with collect_errors(problems.errors):
        vae = asked.get("pretrained_vae_model_name_or_path")
        if vae is not None:
            _require_on_hub(str(vae), "pretrained_vae_model_name_or_path")
        config = make_config(asked, without=["dataset"])
        facts = read_strangers_facts(config, token=token)
        expected = choices.starting_point.family
        if facts.family != expected:
            problems.errors.append(
                UserError(
                    "recipe",
                    f"{choices.model} is a {facts.pipeline_class}, and these settings are for "
                    "another kind of model",
                    f"Choose {recipe_for(facts.family).title!r}.",
                )
            )
    return facts


def _id_problems(choices: Choices) -> list[UserError]:
    """List invalid and missing names of a form; fields are settings."""
    errors = []
    recipe = choices.starting_point
    needs_model, needs_pictures = not recipe.scratch, recipe.rows is None
    if choices.model is not None or needs_model:
        errors += _id_problem(choices.model, "pretrained_model_name_or_path", "model")
    if choices.folder is not None and choices.dataset is not None:
        errors.append(
            UserError(
                "train_data_dir",
                "both a dataset and your own pictures are given",
                "Choose one of the two.",
            )
        )
    elif choices.folder is not None:
        if not choices.folder.is_dir():
            errors.append(
                UserError("train_data_dir", "there is no such folder", "Upload the pictures again.")
            )
    elif choices.dataset is not None or needs_pictures:
        errors += _id_problem(choices.dataset, "dataset_name", "dataset")
    return errors


def _id_problem(text: str | None, field: str, repo_type: RepoType) -> list[UserError]:
    if text is None or not text.strip():
        return [UserError(field, "is missing", f"Search for a {repo_type}, or paste its address.")]
    errors: list[UserError] = []
    with collect_errors(errors):
        _require_on_hub(text, field, repo_type)
    return errors


def _require_on_hub(text: str, field: str, repo_type: RepoType = "model") -> str:
    """Return the id that a text holds.

    Raises:
        UserError: it is not an id, or a local folder of that name would be used instead.
    """
    name = require_id(text, repo_type, field)
    # A training looks for a folder first, relative to its working directory.
    for place in (Path.cwd(), APP_ROOT):
        if (place / name).exists():
            raise UserError(
                field, f"{name} is a folder of this machine", f"Give the id of a {repo_type}."
            )
    return name
