"""`python -m memshield submit --config X --hardware NAME`: a training on Hugging Face Jobs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from memshield.config.file import Config
from memshield.config.flags import config_parser, given
from memshield.config.schema import BUILT_IN
from memshield.errors import Problems, UserError
from memshield.families import read_facts
from memshield.families.facts import Facts
from memshield.forecast.cost import ModelSize, own_model
from memshield.forecast.estimate import Estimate, estimate
from memshield.forecast.flavours import FLAVOURS, ONE_GPU, gpus_of, machine_with
from memshield.forecast.presets import add_preset, require_fit, with_preset
from memshield.forecast.problems import find_problems
from memshield.forecast.totals import numbers
from memshield.hub.catalog.dataset import describe_dataset
from memshield.hub.catalog.model import describe_model
from memshield.jobs.folders import name_from
from memshield.jobs.records import UnansweredError
from memshield.jobs.remote.client import HubClient
from memshield.jobs.remote.record import new_id
from memshield.jobs.remote.rights import about_payment, require_right_to_start
from memshield.jobs.remote.submission import (
    Machine,
    Submission,
    default_image,
    forget,
    prepare_submission,
    processes_for,
    send,
)
from memshield.jobs.terminal.follow import follow_started
from memshield.jobs.terminal.shared import (
    PROGRAM,
    TIMEOUT,
    add_machine,
    confirm,
    require_hardware_name,
    seconds_of,
    start_job,
)
from memshield.paths import expanded
from memshield.quantities import duration, plural

_OWN = ("hardware", "timeout", "image", "detach", "yes", "namespace")
_DIGITS = 1797
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def main(argv: Sequence[str]) -> int:
    """Check, say what it costs, ask, start and follow."""
    parser = config_parser(
        f"{PROGRAM} submit",
        "Train on Hugging Face Jobs, billed by the minute to your account. Takes the settings of "
        "memshield.train. Ctrl-C leaves it running.",
        usage="--config FILE --hardware NAME [--timeout TIME] [--detach] [--yes] "
        "[--name value ...]",
    )
    add_preset(parser)
    add_machine(parser)
    values = given(parser, argv)
    own = {name: values.pop(name) for name in _OWN if name in values}
    if "preset" in values and own["hardware"] in FLAVOURS:
        require_fit(values["preset"], FLAVOURS[own["hardware"]])
    config, preset = with_preset(values)
    machine = Machine(
        own["hardware"], seconds_of(own.get("timeout", TIMEOUT)),
        own.get("image") or default_image(),
    )  # fmt: skip
    client = HubClient(namespace=own.get("namespace"))
    price = require_hardware_name(machine.hardware, client.prices())
    submission, lines = check(client, config, machine, price)
    if preset is not None:
        lines.insert(0, f"preset        {preset}")
    print("\n".join(lines))
    if not confirm("Start it?", own.get("yes", False)):
        print("Nothing was started.")
        return 1
    try:
        send(client, submission)
    except (UserError, OSError, KeyboardInterrupt):
        _forget(client, submission.record.id)
        raise
    try:
        record, job = start_job(client, submission.record)
    except UnansweredError:  # what may run needs its files
        raise
    except UserError:
        _forget(client, submission.record.id)
        raise
    return follow_started(client, record, job, own.get("detach", False))


def _forget(client: HubClient, id: str) -> None:
    """Delete what was copied for a run that was not started: nobody would come for it."""
    try:
        forget(client, id)
    except UserError:  # why nothing was started is the news
        print(f"{client.bucket}/{id} cannot be deleted now: do it on the Hub.", file=sys.stderr)


def check(
    client: HubClient, config: Config, machine: Machine, price: float
) -> tuple[Submission, list[str]]:
    """Check what can be checked here.

    Args:
        client: of the account.
        config: settings.
        machine: that is to train.
        price: of it, in dollars a minute.

    Returns:
        What to start, and lines for a person.

    Raises:
        UserError: every problem that was found.
    """
    problems = Problems()
    token = client.api.token
    facts: Facts | None = None
    with problems.keep():
        facts = read_facts(config)
    rows: int | None = None
    with problems.keep():
        rows = _rows(config, token)
    hardware = FLAVOURS.get(machine.hardware)
    there = None if hardware is None else machine_with(hardware)
    for error in find_problems(
        config, facts=facts, rows=rows, machine=there, token=token, downloads=False,
        publishes=config.push_to_hub,
    ):  # fmt: skip
        with problems.keep():
            raise error
    submission: Submission | None = None
    name = name_from(Path(config.output_dir).name)
    with problems.keep():
        require_right_to_start(client.account, client.namespace)
    with problems.keep():
        _require_trackers(config)
        submission = prepare_submission(client, config, new_id(name), name, machine)
    problems.refuse()
    assert submission is not None
    lines = [*_plan(config, rows), *_where(config, machine, price)]
    found = _estimate(config, rows, machine, price, token)
    if found is not None:
        lines += [f"estimate      {line}" for line in found.lines()]
        if gpus_of(machine.hardware) > 1:
            lines.append(f"estimate      {ONE_GPU}")
    most = machine.seconds / 60 * price
    lines.append(
        f"limit         {duration(machine.seconds, True)}, at most ${most:.2f}; shortly before, it "
        "saves and stops"
    )
    lines += about_payment(client.account, client.namespace)
    lines += [f"data          {line}" for line in submission.places.lines]
    lines.append(f"kept in       {client.bucket}/{submission.record.id} (a private bucket)")
    if submission.record.publishes:
        lines.append("publishing    from here, once it was fetched: no token enters the job")
    return submission, lines


def _rows(config: Config, token: object) -> int | None:
    """How many pictures there are, where that can be told without fetching them."""
    if config.train_data_dir is not None:
        folder = expanded(config.train_data_dir)
        return sum(path.suffix.lower() in _PICTURES for path in folder.rglob("*")) or None
    name = config.dataset_name or ""
    if name == BUILT_IN:
        return _DIGITS
    if expanded(name).exists():
        return None
    found = describe_dataset(
        name, config.dataset_config_name, config.dataset_revision,
        token=token if isinstance(token, str) else None,
    )  # fmt: skip
    split = config.dataset_split.partition("[")[0]
    return next((one.rows for one in found.splits if one.name == split), None)


def _require_trackers(config: Config) -> None:
    others = [name for name in config.report_to or () if name != "tensorboard"]
    if others:
        raise UserError(
            "report_to", f"{others[0]} needs a key, and none enters the job",
            "Leave it out, or use tensorboard.",
        )  # fmt: skip


def _plan(config: Config, rows: int | None) -> list[str]:
    if rows is None:
        return ["plan          the pictures are counted there"]
    return [f"plan          {line}" for line in numbers(config, rows).lines()]


def _where(config: Config, machine: Machine, price: float) -> list[str]:
    hardware = FLAVOURS.get(machine.hardware)
    words = f" ({hardware.device})" if hardware is not None else ""
    lines = [f"hardware      {machine.hardware}{words}, ${price:.4f} a minute"]
    gpus, processes = gpus_of(machine.hardware), processes_for(machine.hardware, config.num_shards)
    if gpus > 1:
        unused = plural(gpus - processes, "GPU")
        idle = f"; {unused} idle: there are no more shards" if processes < gpus else ""
        lines.append(f"processes     {processes}, one a GPU, each trains whole shards{idle}")
    ready = machine.image.startswith(("hf.co/spaces/", "https://"))
    how = "" if ready else "; installing the packages takes minutes, which are billed"
    lines.append(f"image         {machine.image}{how}")
    return lines


def _estimate(
    config: Config, rows: int | None, machine: Machine, price: float, token: object
) -> Estimate | None:
    hardware = FLAVOURS.get(machine.hardware)
    if rows is None or hardware is None:
        return None
    size = own_model(config.model_config_name_or_path)
    if size is None and config.pretrained_model_name_or_path is not None:
        if expanded(config.pretrained_model_name_or_path).exists():
            return None
        model = describe_model(
            config.pretrained_model_name_or_path, config.revision,
            token=token if isinstance(token, str) else None,
        )  # fmt: skip
        if model.parameters is not None and model.resolution is not None:
            size = ModelSize(model.family, model.parameters, model.resolution)
    if size is None:
        return None
    return estimate(config, numbers(config, rows), size, hardware, price * 60)
