"""Commands on a run on Jobs: here, on a copy of it, or with --hardware as another job."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from memshield.audit.prompts import KINDS
from memshield.config.flags import plain_parser
from memshield.errors import UserError
from memshield.hub.account import own_token
from memshield.jobs.remote.live import read_live
from memshield.jobs.remote.places import INPUTS
from memshield.jobs.remote.record import is_run_id
from memshield.jobs.remote.rights import require_right_to_start
from memshield.jobs.remote.submission import Machine, RunTask
from memshield.jobs.terminal.fetch import bring, folder_of, was_changed
from memshield.jobs.terminal.follow import follow_started
from memshield.jobs.terminal.shared import (
    PROGRAM,
    TIMEOUT,
    RemoteRun,
    about_cost,
    about_token,
    add_account,
    add_machine,
    add_token,
    confirm,
    is_busy,
    open_run,
    require_hardware_name,
    require_started,
    seconds_of,
    start_job,
)
from memshield.sampling.request import GRID, parse_arguments

RUN = "{run}"
"""Stands for the run directory in a container's command."""
DRAWN = "drawn"
"""Folder of a run for what is drawn of it as a job."""
_NUMBER: dict[str, Any] = {"type": int, "metavar": "N"}
_SHARE: dict[str, Any] = {"type": float, "metavar": "X"}
_FLAG: dict[str, Any] = {"action": "store_true"}
_AUDIT: dict[str, dict[str, Any]] = {
    "num_images": _NUMBER, "seed": _NUMBER, "num_inference_steps": _NUMBER,
    "prompts": {"choices": KINDS}, "features": {"metavar": "A,B"}, "no_attacks": _FLAG,
}  # fmt: skip
_OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "audit": {"round": _NUMBER, **_AUDIT},
    "compare": {"budget": _SHARE, "alpha": _SHARE, "promote": _FLAG, **_AUDIT},
    "sample": {},
}
"""Options of each command that name nothing here."""


def is_there(word: str) -> bool:
    """Whether a word may name a run on Jobs: it has the form, and somebody is signed in."""
    return is_run_id(word) and own_token() is not None


def bring_here(words: Sequence[str]) -> list[str]:
    """Bring what a command needs of the run that it names.

    Args:
        words: behind the command's name.

    Returns:
        The same, with the folder here in place of the run's id.

    Raises:
        UserError: there is no such run, or its place here is taken.
    """
    parser = plain_parser(PROGRAM, "")
    parser.add_argument("run")
    add_account(parser)
    flags, rest = parser.parse_known_args(list(words))
    with open_run(flags.run, flags.namespace) as run:
        here = folder_of(run)
        if was_changed(here, run.record.id):
            print(f"{run.record.id} is in {here.path}, and was changed there: nothing is brought")
        else:
            bring(run, here, to_go_on=False)
    return [str(here.path), *rest]


def run_there(kind: str, argv: Sequence[str]) -> int:
    """Audit, compare or sample as a job, and follow it.

    Args:
        kind: the command.
        argv: behind its name.
    """
    parser = _parser(kind)
    flags, rest = parser.parse_known_args(list(argv))
    if rest and kind != "sample":
        parser.error(f"on Jobs it does not take {' '.join(rest)}: fetch the run, and do it here")
    machine = Machine(flags.hardware, seconds_of(flags.timeout or TIMEOUT), flags.image or "")
    with open_run(flags.run, flags.namespace) as run:
        client, record = run.client, run.record
        words = _words(kind, vars(flags)) if kind != "sample" else _to_draw(rest, record.jobs + 1)
        machine = machine._replace(image=machine.image or record.image)
        price = require_hardware_name(machine.hardware, client.prices())
        require_right_to_start(client.account, client.namespace)
        _require_ready(run, kind, flags)
        told = about_token(run, flags.send_token)
        cost = about_cost(client, machine.hardware, machine.seconds, price)
        print("\n".join((*cost, *told)))
        if not confirm(f"Start the job ({kind} {record.id})?", flags.yes):
            print("Nothing was started.")
            return 1
        record, job = start_job(client, record, RunTask(kind, tuple(words), machine))
    return follow_started(client, record, job, flags.detach)


def _parser(kind: str) -> ArgumentParser:
    parser = plain_parser(
        f"{PROGRAM} {kind}",
        f"The command {kind} on a run on Jobs, as another job. It takes the options that name no "
        "file here; without --hardware the run is brought here, and the command takes all of them.",
    )
    parser.add_argument("run", metavar="ID")
    add_machine(parser)
    add_token(parser)
    for name, options in _OPTIONS[kind].items():
        parser.add_argument(f"--{name}", **options)
    return parser


def _words(kind: str, flags: dict[str, Any]) -> list[str]:
    words: list[str] = []
    for name in _OPTIONS[kind]:
        value = flags[name]
        if value is True:
            words.append(f"--{name}")
        elif value is not None and value is not False:
            words += [f"--{name}", str(value)]
    return words


def _to_draw(words: Sequence[str], number: int) -> list[str]:
    asked = parse_arguments([RUN, *words])
    for name in ("revision", "against", "base", "output_dir"):
        if getattr(asked, name) is not None:
            raise UserError(f"--{name}", "is not taken on Jobs", "Leave it out.")
    if asked.output != Path(GRID).absolute():
        raise UserError("--output", "is not taken on Jobs", f"`{PROGRAM} fetch` brings pictures.")
    folder = Path(RUN) / DRAWN / str(number)
    return replace(asked, target=RUN, output=None, output_dir=folder).words()[1:]


def _require_ready(run: RemoteRun, kind: str, flags: Any) -> None:
    """Refuse what would only fail there, where it costs.

    Raises:
        UserError: saying what is missing.
    """
    id, client = run.record.id, run.client
    active = client.jobs(id, active=True)
    if active:
        raise is_busy(active[0])
    require_started(run)
    live = read_live(client, id)
    files = () if live is None else tuple(live.files)
    number = getattr(flags, "round", None)
    folder = "model/" if number is None else f"rounds/{number}/"
    wanted = "rounds/" if kind == "compare" else folder
    if not any(name.startswith(wanted) for name in files):
        raise UserError(
            "run", f"{id} has no {wanted.rstrip('/')} yet", f"`{PROGRAM} resume {id}` goes on."
        )
    copied = any(value.startswith(f"{INPUTS}/") for value in run.record.flags.values())
    if copied and not client.names(f"{id}/{INPUTS}"):
        raise UserError(
            "run", "the copies of your files were deleted from the bucket when it was fetched",
            f"Do it here: `{PROGRAM} {kind} {folder_of(run).path}`.",
        )  # fmt: skip
