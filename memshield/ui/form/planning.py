"""Plans a training from the form: its forecast, its problems, and its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from memshield.config.file import Config, make_config
from memshield.config.recommendations import Advice, Situation, advice_for
from memshield.errors import UserError
from memshield.forecast.cost import OWN_MODELS, ModelSize
from memshield.forecast.estimate import (
    Estimate,
    cut_captions_in,
    estimate,
    lost_to_squares_in,
    measured_estimate,
)
from memshield.forecast.flavours import FLAVOURS, hardware_of, machine_with
from memshield.forecast.hardware import Machine
from memshield.forecast.totals import Numbers, numbers
from memshield.hub.catalog.dataset import describe_dataset
from memshield.hub.catalog.dataset_description import DatasetDescription
from memshield.hub.catalog.model import ModelDescription, describe_model
from memshield.network import Token
from memshield.ui.errors import attempt
from memshield.ui.form.choices import Choices, to_config, to_yaml
from memshield.ui.form.problems import problems_of, type_problems

Pace = Callable[[Config, ModelSize, Estimate], Estimate]
"""Corrects an estimate for this machine."""
SHOWN = ("t4-small", "l4x1", "a10g-small", "a100-large")
"""The Hub's hardware that is compared with this machine."""


@dataclass(frozen=True)
class Plan:
    """What the training of a form would do.

    Attributes:
        values: settings, for a job; {} if they are not valid.
        yaml: the same as a file to copy.
        errors: problems to mend first.
        needs_token: whether model or pictures can only be read with a sign-in.
        config: of the values; None if they are not valid.
        counted: steps, shards and audits; None while the number of pictures is unknown.
        size: of the model; None if unknown.
        here: time and memory on this machine; None if unknown.
        elsewhere: the same on the Hub's hardware, for comparison.
        price: of this machine, in dollars an hour; None if it is free or unknown.
        model: as the Hub describes it; None if none was looked up.
        cut_captions: what a measurement says of captions that are too long; None if none is.
        lost: share of its area that the median picture loses in a square; None if unknown.
    """

    values: Mapping[str, Any]
    yaml: str
    errors: tuple[UserError, ...]
    needs_token: bool
    config: Config | None = None
    counted: Numbers | None = None
    size: ModelSize | None = None
    here: Estimate | None = None
    elsewhere: tuple[Estimate, ...] = ()
    price: float | None = None
    model: ModelDescription | None = None
    cut_captions: str | None = None
    lost: float | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """The counts and the estimate in words."""
        if self.counted is None:
            return (UNCOUNTED,) if self.config is not None else ()
        own = self.here.lines() if self.here is not None else []
        return (*self.counted.lines(), *own)

    def with_measurement_of(self, before: Plan | None) -> Plan:
        """Take over what was measured for an earlier plan of the same settings.

        Args:
            before: the last plan of the form; None for none.
        """
        if before is None or before.here is None or not before.here.measured:
            return self
        if before.values != self.values:
            return self
        return replace(self, here=before.here, cut_captions=before.cut_captions, lost=before.lost)

    def with_measurement(self, text: str, memory_there: int | None) -> Plan:
        """Replace the estimate for this machine with a measurement.

        Args:
            text: output of `plan --measure`.
            memory_there: of the machine, in bytes.

        Raises:
            UserError: the text is something else.
        """
        if self.config is None or self.counted is None or self.size is None:
            return self
        found = measured_estimate(text, memory_there, self.price)
        lost = lost_to_squares_in(text)
        return replace(
            self,
            here=found,
            cut_captions=cut_captions_in(text),
            lost=self.lost if lost is None else lost,
        )


def advice_of(made: Plan) -> list[Advice]:
    """List the recommendations for a plan, once its pictures and its model are known."""
    config, counted = made.config, made.counted
    if config is None or counted is None or made.size is None:
        return []
    text = made.size.family != "unconditional"
    return advice_for(
        Situation.of(config, counted.members, counted.steps, text, counted.held_out, made.lost)
    )


UNCOUNTED = "The number of pictures is not known before they are downloaded."


def no_prices() -> Mapping[str, float]:
    """Stand in for a price list without asking anybody."""
    return {}


def plan(
    choices: Choices,
    machine: Machine,
    token: Token,
    rows: int | None = None,
    flavour: str | None = None,
    prices: Callable[[], Mapping[str, float]] = no_prices,
    pace: Pace | None = None,
    at_home: bool | None = None,
) -> Plan:
    """Plan the training of a form; asks the Hub about model and dataset.

    Args:
        choices: the form.
        machine: that would train.
        token: of the visitor.
        rows: number of uploaded pictures, if any.
        flavour: the Hub's name of the machine, on a Space.
        prices: dollars an hour by such names; called only if the form needs the Hub anyway.
        pace: see `forecast`.
        at_home: see `problems_of`.
    """
    odd = type_problems(choices)
    if odd:
        return Plan({}, "", tuple(odd), False)
    errors = problems_of(choices, token=token, rows=rows, machine=machine, at_home=at_home)
    wrong = {error.field for error in errors}
    model = dataset = None
    if choices.model and not wrong & {"model", "recipe", "sign_in"}:
        model = attempt(lambda: describe_model(choices.model or "", token=token))
    if choices.dataset and not wrong & {"dataset", "recipe", "sign_in"}:
        dataset = attempt(
            lambda: describe_dataset(choices.dataset or "", choices.dataset_config, token=token)
        )
    rows = rows if rows is not None else rows_of(choices, dataset)
    private = any(one is not None and (one.private or one.gated) for one in (model, dataset))
    asks = choices.model is not None or choices.dataset is not None or flavour is not None
    known = prices() if asks and rows is not None else {}
    price = known.get(flavour) if flavour is not None else None
    made = forecast(choices, machine, rows, model, price, pace)
    made = replace(made, errors=tuple(errors), needs_token=private)
    # A Space has its hardware already; the demo runs anywhere.
    if rows is None or flavour is not None or choices.recipe == "demo":
        return made
    return _with_others(made, choices, rows, known)


def forecast(
    choices: Choices,
    machine: Machine,
    rows: int | None,
    model: ModelDescription | None = None,
    price: float | None = None,
    pace: Pace | None = None,
    size: ModelSize | None = None,
) -> Plan:
    """Plan a training without asking anybody, and without looking for problems.

    Args:
        choices: the form.
        machine: that would train.
        rows: number of its pictures, if known.
        model: as the Hub describes it, if there is one.
        price: of the machine, in dollars an hour.
        pace: corrects the estimate by what earlier runs took here.
        size: of the model, where it is known without a description.
    """
    values = to_config(choices, rows, machine, model.resolution if model else None)
    config, size = _checked(values), size or _size(values, model)
    made = Plan(
        values=values if config else {},
        yaml=to_yaml(choices, values) if config is not None else "",
        errors=(),
        needs_token=False,
        config=config,
        size=size,
        model=model,
    )
    if config is None or rows is None:
        return made
    counted, hardware = numbers(config, rows), hardware_of(machine)
    made = replace(made, counted=counted)
    if size is None or hardware is None:
        return made
    here = estimate(config, counted, size, hardware, price)
    if pace is not None:
        here = pace(config, size, here)
    return replace(made, here=here, price=price)


def _with_others(made: Plan, choices: Choices, rows: int, prices: Mapping[str, float]) -> Plan:
    """Add the estimates for the Hub's hardware."""
    if made.counted is None or made.size is None:
        return made
    size, counted = made.size, made.counted
    elsewhere = []
    resolution = made.model.resolution if made.model else None
    for name in SHOWN:
        # Of the settings, only the precision follows from the machine: the totals are the same.
        config = _checked(to_config(choices, rows, machine_with(FLAVOURS[name]), resolution))
        if config is not None:
            elsewhere.append(estimate(config, counted, size, FLAVOURS[name], prices.get(name)))
    return replace(made, elsewhere=tuple(elsewhere))


def rows_of(choices: Choices, dataset: DatasetDescription | None) -> int | None:
    """The number of pictures of a form, where it is known before they are downloaded."""
    if choices.recipe == "demo":
        return choices.starting_point.rows
    if dataset is None:
        return None
    wanted = choices.split or "train"
    return next((split.rows for split in dataset.splits if split.name == wanted), None)


def _checked(values: Mapping[str, Any]) -> Config | None:
    return attempt(lambda: make_config(dict(values)))  # the problems are known already


def _size(values: Mapping[str, Any], model: ModelDescription | None) -> ModelSize | None:
    if model is not None:
        if model.parameters is None or model.resolution is None:
            return None
        return ModelSize(model.family, model.parameters, model.resolution)
    return OWN_MODELS.get(str(values.get("model_config_name_or_path")))
