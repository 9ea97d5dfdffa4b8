"""What is wrong with a training, as far as it is known before anything is downloaded. No torch."""

from __future__ import annotations

from memshield.config.file import Config
from memshield.config.memory import require_package
from memshield.errors import UserError, UserErrors
from memshield.families.facts import Facts
from memshield.forecast.hardware import Machine
from memshield.forecast.totals import numbers
from memshield.network import Token
from memshield.training.prepare import Preparation, PreparationCheck, prepare


def find_problems(
    config: Config,
    *,
    facts: Facts | None,
    rows: int | None,
    machine: Machine | None,
    token: Token,
    downloads: bool,
    publishes: bool,
) -> list[UserError]:
    """Every problem of a training whose model and pictures have only been looked up.

    Args:
        config: settings.
        facts: of the model; None where they are not known.
        rows: pictures of the split; None where they have not been counted.
        machine: that would train.
        token: the Hub is asked with; see `memshield.network.Token`.
        downloads: whether the pictures come from the Hub, so that the disk has to take them.
        publishes: whether the model is to be published.

    Returns:
        Errors whose fields are settings.
    """

    def check_machine(preparation: Preparation) -> None:
        without_gpu = machine is not None and not machine.gpus
        if without_gpu and preparation.config.mixed_precision == "fp16":
            raise UserError(
                "mixed_precision", "fp16 needs a GPU, and there is none", "Use no or bf16."
            )
        require_package(preparation.config)

    def check_room(preparation: Preparation) -> None:
        # A tenth of a second, which others need not wait for.
        from memshield.hub.publish.preflight import room_errors

        _raise_all(room_errors(preparation.config, token))

    def check_publication(preparation: Preparation) -> None:
        from memshield.hub.publish.preflight import publishing_errors

        _raise_all(publishing_errors(preparation.config, token))

    def count_pictures(preparation: Preparation) -> None:
        if rows is not None:
            _raise_all(list(numbers(preparation.config, rows).problems))

    checks: list[PreparationCheck] = [check_machine]
    if downloads:
        checks.append(check_room)
    if publishes:
        checks.append(check_publication)
    preparation = prepare(
        config, model=lambda _: facts, checks=checks, pictures=count_pictures, at_once=True
    )
    return preparation.problems.errors


def _raise_all(errors: list[UserError]) -> None:
    if errors:
        raise UserErrors(errors)
