"""Training from the command line: `accelerate launch -m memshield.train --config FILE`.

The process's outermost edge: it sees to it that the run directory says how a run ended.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from memshield.config.file import Config, make_config, read_yaml, to_yaml
from memshield.config.flags import config_parser, given
from memshield.config.schema import HubSettings
from memshield.errors import UserError
from memshield.forecast.hardware import available_cores
from memshield.forecast.presets import add_preset, with_preset
from memshield.jobs import endings
from memshield.quantities import duration_range
from memshield.redaction import guard_logging, redact
from memshield.rundir import (
    HEARTBEAT_SECONDS,
    EventLog,
    RunDir,
    StatusFile,
    is_alive,
    lock_path,
    remove_leftovers,
    this_process,
)
from memshield.training.accelerate_process import (
    find_accelerate,
    join_machines,
    note_on_traceback,
    use_all_cores,
)
from memshield.training.failures import Failure, explain, way_on
from memshield.training.interruption import Stopped, StopRequest
from memshield.training.launch import (
    require_agreement,
    require_shared,
    require_usable,
    resolve_launch,
)
from memshield.training.ranks import RankLostError, Ranks
from memshield.training.time_limit import heed_time_limit

if TYPE_CHECKING:
    from memshield.training.prepare import PreparationCheck

log = logging.getLogger("memshield")
NOT_PUBLISHED = 3


def main(argv: Sequence[str]) -> int:
    """Train, and publish where that is asked for.

    Returns:
        The exit code: 0 done, 2 for what the user can mend, 3 trained but not published, 128 + n
        on signal n.
    """
    with endings.noted() as ending:
        ending.code = _main(argv, ending)
    return ending.code


def _main(argv: Sequence[str], ending: endings.Ending) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    guard_logging()
    try:
        launcher = find_accelerate()
        use_all_cores(launcher, available_cores())
        join_machines(launcher)
        own = given(_parser(), argv)
        dry = own.pop("dry_run", False)
        config, preset = with_preset(own)
        config = resolve_launch(config)
        run = RunDir(config.output_dir)
        stop = StopRequest()
        ranks = Ranks(stop)
        if preset is not None and ranks.is_first:
            log.info("Preset %s", preset)
        if dry:
            return _dry_run(config, ranks)
        if ranks.is_first:
            heed_time_limit(stop)
        if not ranks.is_first:
            return _follow(config, run, ranks, stop)
        require_usable(run)
        run.path.mkdir(parents=True, exist_ok=True)
        with FileLock(lock_path(run), timeout=0):
            return _lead(config, run, ranks, stop) or _publish(run, config, stop)
    except Stopped as stopped:
        return 128 + stopped.signal_number
    except Timeout:
        print(
            f"output_dir: another process is training in {config.output_dir}\n"
            "  Wait for it, stop it, or choose another output_dir.",
            file=sys.stderr,
        )
        ending.problem = "Another process was training this run when it was started."
        return 2
    except UserError as error:
        print(redact(str(error)), file=sys.stderr)
        ending.refuse(error)
        return ending.code
    except OSError as error:
        if error.errno is None:
            raise
        print(f"{error.filename or 'output_dir'}: {error.strerror}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = config_parser(
        "accelerate launch -m memshield.train",
        "Fine-tune a diffusion model with ensemble sharding and anti-gradient control.",
    )
    add_preset(parser)
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="check model, data, disk and the repository to publish to, train one step, save, "
        "and name every problem at once",
    )
    return parser


def _dry_run(config: Config, ranks: Ranks) -> int:
    """Check everything that can be checked beforehand, in one process."""
    if ranks.is_first:
        from memshield.forecast.dry_run import dry_run

        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            os.environ.pop(name, None)  # the others are gone: nobody would meet it
        for line in dry_run(config, ranks.count):
            print(line, flush=True)
    return 0


def _publish(run: RunDir, config: Config, stop: StopRequest) -> int:
    """Publish a run that is done, if it asks for it. What goes wrong here is not the training's.

    Returns:
        0, or 3 where it was trained and not published: publish.json says why.

    Raises:
        Stopped: it was asked to stop before.
    """
    if not config.push_to_hub:
        return 0
    if stop.requested:
        log.info("Not published, as a stop was asked for.")
    stop.obey()  # asked for while the last files were written, it came too late for the training
    from memshield.hub.publish.publishing import Publisher, open_to_publish

    changes = {name: getattr(config, name) for name in HubSettings.model_fields}
    try:
        published = Publisher(*open_to_publish(run.path, **changes)).publish()
    except UserError as error:
        print(f"Trained, but not published.\n{redact(str(error))}", file=sys.stderr)
        return NOT_PUBLISHED
    except OSError as error:
        print(f"Trained, but not published: {error.strerror}", file=sys.stderr)
        return NOT_PUBLISHED
    log.info("Published: %s", published.url)
    return 0


def _lead(config: Config, run: RunDir, ranks: Ranks, stop: StopRequest) -> int:
    """Rank 0: run the training and see to it that status.json says how it ended."""
    before = run.read_status()
    attempt = int(before.get("attempt", 0)) + 1
    stop.defer()  # until the state that is written here has somebody who sees to its end
    events = EventLog(run, attempt)
    status = StatusFile(run, attempt)
    try:
        stop.heed()
        ranks.connect()
        processes = ranks.gather(this_process(ranks.rank))
        status.set("preparing", processes=processes)
        ranks.share(attempt)
        require_shared(ranks, run, processes)
        require_agreement(ranks, config)
        ranks.share_stops(run.stop_file)
        status.set("done", _lead_training(config, run, ranks, stop, events, status, before))
        return 0
    except Stopped as stopped:
        stop.defer()
        if before.get("state") == "done" and status.state == "preparing":
            _keep(status, before)
            return 128 + stopped.signal_number
        status.set("stopped", stop.reason or f"{stopped} received")
        log.info("Stopped. %s", way_on(config.resume_from_checkpoint))
        return 128 + stopped.signal_number
    except Exception as error:  # the process's outermost edge: the state must not stay "running"
        stop.defer()
        failure = explain(error, _resolved(config, run))
        # What stops a training that has begun is a failure, in whatever words.
        begun = status.state not in ("preparing", "done")
        may_stay = ("stopped", "failed", "done") if isinstance(error, UserError) else ("done",)
        stays = run.is_run() and not begun and before.get("state") in may_stay
        if stays and isinstance(error, UserError):
            with contextlib.suppress(OSError):  # what is refused is told on a full disk, too
                _keep(status, before, refused=True)
            raise
        if isinstance(error, RankLostError):
            failure = _who_was_lost(run, attempt, failure)
        if failure.is_crash:
            print(redact(traceback.format_exc()), file=sys.stderr)
        print(redact(failure.reason), file=sys.stderr)
        if stays:
            _keep(status, before, refused=True)
            return failure.code
        # On a full disk what stands here makes room for the report, and it may not be written all
        # the same; the message above is what is left.
        with contextlib.suppress(OSError):
            remove_leftovers(run.path)
        with contextlib.suppress(OSError):
            status.set("failed", failure.reason, error=failure.error, on_page=failure.on_page)
            _write_error(events, 0, failure)
        return failure.code
    finally:
        status.close()
        ranks.close()


def _lead_training(
    config: Config,
    run: RunDir,
    ranks: Ranks,
    stop: StopRequest,
    events: EventLog,
    status: StatusFile,
    before: dict[str, Any],
) -> str | None:
    """Train to the end; why another round than the last is the model, if so."""
    from memshield.hub.catalog.license import license_words
    from memshield.runs.promote import promote
    from memshield.training import start

    if before.get("state") == "done" and start.is_done(config, run):
        log.info("This run is done: %s", run.model)
        ranks.share()
        status.update(**_place_of(before))
        return before.get("reason")
    start.require_checkpoint(config, run, ranks.count)
    prepared = start.lead(config, run, events, _checks_of_new(config))
    ranks.share(to_yaml(prepared.config))
    if words := license_words(prepared.facts.repository):
        log.info("License of the base: %s", words)
    if ranks.count == 1:
        _say_how_long(prepared.config, len(prepared.examples))
    reason = start.train(prepared, run, ranks, stop, events, status, promote)
    events.write("done", **({"reason": reason} if reason else {}))
    if reason:
        log.info("%s", reason)
    log.info("Done. The model is in %s", run.model)
    return reason


def _keep(status: StatusFile, before: dict[str, Any], **values: Any) -> None:
    """Write the state that was: a start that came to nothing changes nothing about the run."""
    kept = {name: before[name] for name in ("error", "on_page") if name in before}
    status.set(before["state"], before.get("reason"), **kept, **_place_of(before), **values)


def _place_of(status: dict[str, Any]) -> dict[str, Any]:
    """How far a run is, of its status."""
    names = ("step", "total_steps", "round", "shard")
    return {name: status[name] for name in names if name in status}


def _checks_of_new(config: Config) -> list[PreparationCheck]:
    """What is checked besides where nothing was trained yet."""
    if not config.push_to_hub:
        return []
    from memshield.hub.publish.preflight import require_publishable

    return [lambda so_far: require_publishable(so_far.config)]


def _say_how_long(config: Config, rows: int) -> None:
    """Before the first step: what trains, and how long that will take where it can be told."""
    import torch

    from memshield.forecast.estimate import seconds_on_cpu  # --help would wait for SciPy

    if torch.cuda.is_available():
        return
    threads = torch.get_num_threads()
    count = f"{threads} threads" if threads > 1 else "one thread"
    log.info("There is no GPU: training on the CPU with %s", count)
    if (seconds := seconds_on_cpu(config, rows, threads)) is not None:
        words = duration_range(seconds.low, seconds.high)
        log.info("The whole run takes %s (a rough estimate)", words)


def _follow(config: Config, run: RunDir, ranks: Ranks, stop: StopRequest) -> int:
    """Another rank: train its shards; what goes wrong here is told through the event log."""
    attempt = 0
    try:
        ranks.connect()
        processes = ranks.gather(this_process(ranks.rank))
        attempt = int(ranks.share())
        require_shared(ranks, run, processes)
        require_agreement(ranks, config)
        ranks.share_stops(run.stop_file)
        settings = ranks.share()
        if settings is not None:
            from memshield.runs.promote import promote
            from memshield.training import start

            prepared = start.follow(settings, run)
            start.train(prepared, run, ranks, stop, None, None, promote)
        return 0
    except RankLostError as error:
        stop.defer()
        _speak_for_rank_0(run, attempt, explain(error, config))
        return 1
    except Stopped as stopped:
        return 128 + stopped.signal_number
    except Exception as error:  # this process's outermost edge: rank 0 must learn of it
        stop.defer()
        failure = explain(error, _resolved(config, run))
        if failure.is_crash:
            print(redact(traceback.format_exc()), file=sys.stderr)
        print(redact(f"rank {ranks.rank}: {failure.reason}"), file=sys.stderr)
        with contextlib.suppress(OSError):
            _write_error(EventLog(run, attempt), ranks.rank, failure)
        return failure.code
    finally:
        ranks.close()


def _write_error(events: EventLog, rank: int, failure: Failure) -> None:
    on_page = {} if failure.on_page is None else {"on_page": failure.on_page}
    events.write("error", rank=rank, error=failure.error, reason=failure.reason, **on_page)


def _resolved(config: Config, run: RunDir) -> Config:
    """The config with the model's defaults filled in, where the run got so far and it is whole."""
    try:
        return make_config(read_yaml(run.config)) if run.is_run() else config
    except UserError:
        return config


def _who_was_lost(run: RunDir, attempt: int, failure: Failure) -> Failure:
    """The failure that another rank told of before it went, or which ranks are gone."""
    time.sleep(0.5)  # a process that was killed is seen as gone only when it was waited for
    for event in run.read_events():
        if event["type"] == "error" and event["attempt"] == attempt:
            return failure._replace(
                error=event["error"],
                reason=f"rank {event['rank']}: {event['reason']}",
                on_page=event.get("on_page"),
            )
    gone = [p["rank"] for p in run.read_status().get("processes", []) if not is_alive(p)]
    return _lost(failure, ", ".join(map(str, gone))) if gone else failure


def _lost(failure: Failure, ranks: str) -> Failure:
    lost = f"rank {ranks} was lost: "
    shown = failure.on_page or failure.reason
    return failure._replace(reason=lost + failure.reason, on_page=lost + shown)


def _speak_for_rank_0(run: RunDir, attempt: int, failure: Failure) -> None:
    """Mark a run as failed whose rank 0 cannot: its heartbeat stands still.

    A rank 0 that lives learns of it as this process ends, and only then: it is not waited for.
    """
    heartbeat = None
    for _ in range(3):  # on a shared disk the first look may show an older file
        status = run.read_status()
        if status.get("attempt") != attempt or status["state"] not in ("preparing", "running"):
            return
        if status["heartbeat"] == heartbeat:
            lost = _lost(failure, "0")
            StatusFile.amend(run, "failed", lost.reason, error=lost.error, on_page=lost.on_page)
            return
        heartbeat = status["heartbeat"]
        time.sleep(3 * HEARTBEAT_SECONDS)


if __name__ == "__main__":
    exit_code = main(sys.argv[1:])
    if note := note_on_traceback(find_accelerate(), exit_code):
        print(note, file=sys.stderr)
    sys.exit(exit_code)
