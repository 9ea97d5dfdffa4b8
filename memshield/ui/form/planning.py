"""From the inputs of the form to a plan: what it would do, what is wrong, and the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from memshield.config.file import Config, make_config
from memshield.config.recommendations import Advice, Situation, advice_for
from memshield.errors import UserError
from memshield.forecast.cost import OWN_MODELS, ModelSize
from memshield.forecast.estimate import Estimate, estimate, measured_estimate
from memshield.forecast.flavours import FLAVOURS, hardware_of, machine_with
from memshield.forecast.hardware import Machine
from memshield.forecast.totals import Numbers, numbers
from memshield.hub.catalog.dataset import describe_dataset
from memshield.hub.catalog.dataset_description import DatasetDescription
from memshield.hub.catalog.model import ModelDescription, describe_model
from memshield.network import Token
from memshield.ui.form.choices import Choices, to_config, to_yaml
from memshield.ui.form.problems import odd_types, problems_of

FoundT = TypeVar("FoundT")
SHOWN = ("t4-small", "l4x1", "a10g-small", "a100-large")
"""Hardware of the Hub that is set beside this machine."""


@dataclass(frozen=True)
class Plan:
    """What a form would do.

    Attributes:
        values: settings, for a job; {} where they are not valid.
        yaml: the same as a file to copy.
        errors: what has to be mended first.
        needs_token: whether model or pictures can only be read by who is signed in.
        config: of the values; None where they are not valid.
        counted: numbers; None where the pictures cannot be counted yet.
        size: of the model; None where it is not known.
        here: what it takes on this machine; None where that is not known.
        elsewhere: what it takes on hardware of the Hub, where that is of interest.
        price: dollars an hour of this machine; None where it costs nothing or is not known.
        model: as the Hub describes it; None where none was looked up.
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

    @property
    def lines(self) -> tuple[str, ...]:
        """Numbers and the estimate in words."""
        if self.counted is None:
            return (UNCOUNTED,) if self.config is not None else ()
        own = self.here.lines() if self.here is not None else []
        return (*self.counted.lines(), *own)

    def measured(self, said: str, memory_there: int | None) -> Plan:
        """The same with what was measured in place of the estimate for this machine.

        Args:
            said: what `plan --measure` wrote.
            memory_there: bytes of the machine.

        Raises:
            UserError: it is something else.
        """
        if self.config is None or self.counted is None or self.size is None:
            return self
        found = measured_estimate(
            said, self.config, self.counted, self.size, memory_there, self.price
        )
        return replace(self, here=found)


def advice_of(made: Plan) -> list[Advice]:
    """What is recommended for a plan, once its pictures and its model are known."""
    config, counted = made.config, made.counted
    if config is None or counted is None or made.size is None:
        return []
    text = made.size.family != "unconditional"
    return advice_for(Situation.of(config, counted.members, counted.steps, text))


UNCOUNTED = "How many pictures there are is not known before they are fetched."


def no_prices() -> Mapping[str, float]:
    """Where nobody is to be asked."""
    return {}


def plan(
    choices: Choices,
    machine: Machine,
    token: Token,
    rows: int | None = None,
    flavour: str | None = None,
    prices: Callable[[], Mapping[str, float]] = no_prices,
) -> Plan:
    """Work out what a form would do; the Hub is asked about model and dataset.

    Args:
        choices: the form.
        machine: that would train.
        token: of the visitor.
        rows: pictures of an upload, where there is one.
        flavour: the Hub's name of the machine, where it is the Hub's.
        prices: dollars an hour by such names; asked only where the form needs the Hub anyway.
    """
    odd = odd_types(choices)
    if odd:
        return Plan({}, "", tuple(odd), False)
    errors = problems_of(choices, token=token, rows=rows, machine=machine)
    wrong = {error.field for error in errors}
    model = dataset = None
    if choices.model and not wrong & {"model", "recipe", "sign_in"}:
        model = _looked_up(lambda: describe_model(choices.model or "", token=token))
    if choices.dataset and not wrong & {"dataset", "recipe", "sign_in"}:
        dataset = _looked_up(
            lambda: describe_dataset(choices.dataset or "", choices.dataset_config, token=token)
        )
    rows = rows if rows is not None else _rows(choices, dataset)
    values = to_config(choices, rows, machine, model.resolution if model else None)
    config = _checked(values)
    private = any(one is not None and (one.private or one.gated) for one in (model, dataset))
    made = Plan(
        values=values if config else {},
        yaml=to_yaml(choices, values) if config is not None else "",
        errors=tuple(errors),
        needs_token=private,
        config=config,
        size=_size(values, model),
        model=model,
    )
    if config is None or rows is None:
        return made
    made = replace(made, counted=numbers(config, rows))
    asks = choices.model is not None or choices.dataset is not None or flavour is not None
    return _estimated(made, choices, machine, rows, flavour, prices() if asks else {})


def _estimated(
    made: Plan,
    choices: Choices,
    machine: Machine,
    rows: int,
    flavour: str | None,
    prices: Mapping[str, float],
) -> Plan:
    """The plan with what it takes, here and elsewhere."""
    if made.config is None or made.counted is None or made.size is None:
        return made
    size, hardware = made.size, hardware_of(machine)
    price = prices.get(flavour) if flavour is not None else None
    if hardware is not None:
        here = estimate(made.config, made.counted, size, hardware, price)
        made = replace(made, here=here, price=price)
    if flavour is not None or choices.recipe == "demo":
        return made  # who is on the Hub has chosen already; the demo runs anywhere
    elsewhere = []
    for name in SHOWN:
        there = machine_with(FLAVOURS[name])
        config = _checked(to_config(choices, rows, there, size.resolution))
        if config is not None:
            counted = numbers(config, rows)
            elsewhere.append(estimate(config, counted, size, FLAVOURS[name], prices.get(name)))
    return replace(made, elsewhere=tuple(elsewhere))


def _looked_up(ask: Callable[[], FoundT]) -> FoundT | None:
    """What the Hub says; what is wrong is among the problems already."""
    try:
        return ask()
    except UserError:
        return None


def _rows(choices: Choices, dataset: DatasetDescription | None) -> int | None:
    if choices.recipe == "demo":
        return choices.starting_point.rows
    if dataset is None:
        return None
    wanted = choices.split or "train"
    return next((split.rows for split in dataset.splits if split.name == wanted), None)


def _checked(values: Mapping[str, Any]) -> Config | None:
    try:
        return make_config(dict(values))
    except UserError:
        return None  # among the problems already


def _size(values: Mapping[str, Any], model: ModelDescription | None) -> ModelSize | None:
    if model is not None:
        if model.parameters is None or model.resolution is None:
            return None
        return ModelSize(model.family, model.parameters, model.resolution)
    return OWN_MODELS.get(str(values.get("model_config_name_or_path")))
