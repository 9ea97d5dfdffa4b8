"""Training from the command line: `accelerate launch -m memshield.train --config FILE`.

Checks everything that can be checked before torch is imported, then hands over to the loop.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from memshield.config import Config, differing_fields, make_config, read_yaml, to_yaml
from memshield.errors import UserError
from memshield.flags import parse_config
from memshield.rundir import EventLog, RunDir, StatusFile, lock_path, remove_leftovers, write_text
from memshield.stop import Stopped, StopRequest

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger("memshield")

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OWN_FILES = {"status.json", "events.jsonl", "examples.parquet", ".lock", "logs"}
"""What a start that failed before training may leave in an output_dir."""


def main(argv: Sequence[str]) -> int:
    """Train; returns the exit code: 0 done, 2 for what the user can mend, 128 + n on signal n."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    try:
        config = parse_config(
            "accelerate launch -m memshield.train",
            argv,
            "Fine-tune a diffusion model with ensemble sharding and anti-gradient control.",
        )
        config = _resolve_launch(config)
        run = RunDir(config.output_dir)
        _require_usable(run)
        run.path.mkdir(parents=True, exist_ok=True)
        with FileLock(lock_path(run), timeout=0):
            return _supervise(config, run)
    except Timeout:
        print(
            f"output_dir: another process is training in {config.output_dir}\n"
            "  Wait for it, stop it, or choose another output_dir.",
            file=sys.stderr,
        )
        return 2
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno is None:
            raise
        print(f"{error.filename or 'output_dir'}: {error.strerror}", file=sys.stderr)
        return 2


def _supervise(config: Config, run: RunDir) -> int:
    """Run the training and see to it that status.json says how it ended."""
    stop = StopRequest()
    before = run.read_status()
    attempt = int(before.get("attempt", 0)) + 1
    events = EventLog(run, attempt)
    status = StatusFile(run, attempt)

    def failed(reason: str) -> None:
        print(reason, file=sys.stderr)
        # On a full disk the report may not be written; the message above is what is left.
        with contextlib.suppress(OSError):
            status.set("failed", reason)
            events.write("error", reason=reason)

    try:
        if before.get("state") == "done" and _is_done(config, run):
            log.info("This run is done: %s", run.model)
        else:
            _train(config, run, stop, events, status)
            events.write("done")
        status.set("done")
        return 0
    except Stopped as stopped:
        status.set("stopped", f"{stopped} received")
        log.info("Stopped. The same command goes on from the last checkpoint.")
        return 128 + stopped.signal_number
    except UserError as error:
        if run.is_run() and before.get("state") in ("stopped", "failed", "done"):
            # A start that was refused changes nothing about the run that stands here.
            print(error, file=sys.stderr)
            status.set(before["state"], before.get("reason"))
        else:
            failed(str(error))
        return 2
    except Exception as error:  # the process's outermost edge: the state must not stay "running"
        if _is_disk_full(error):
            remove_leftovers(run.path)
            failed(
                "output_dir: the disk is full; the last checkpoint is whole.\n"
                "  Make room, or set checkpoints_total_limit, and start the same command again."
            )
            return 1
        failed(f"{type(error).__name__}: {error}")
        traceback.print_exc()
        return 1
    finally:
        status.close()


def _train(
    config: Config, run: RunDir, stop: StopRequest, events: EventLog, status: StatusFile
) -> None:
    """Prepare, and train from wherever the run stands."""
    from memshield.families import read_facts, resolve

    earlier = _earlier_config(run)
    config = _pin(config, earlier)
    facts = read_facts(config)
    config = resolve(config, facts)
    if earlier is not None:
        _require_same(config, earlier)
    _require_hardware(config)
    remove_leftovers(run.path)
    remove_leftovers(run.rounds)

    from memshield.data.batches import PictureReader, captions_of
    from memshield.data.examples import Examples
    from memshield.data.prepare import prepare, require_same_dataset
    from memshield.data.source import open_source
    from memshield.plan import budget_of, can_cache, require_captions

    source = open_source(config)
    config = config.model_copy(update={"dataset_revision": source.revision})
    require_captions(facts, source)
    if earlier is not None and run.examples.exists():
        examples = Examples.read(run.examples)
        require_same_dataset(examples, source)
    else:
        prepared = prepare(config, source)
        require_captions(facts, source, prepared)
        examples = prepared.examples
        events.write("data", lines=prepared.lines(), bad_rows=prepared.bad_rows[:1000])
        log.info("\n".join(prepared.lines()))
    budget = budget_of(config, examples)
    cached = can_cache(config, facts, examples)
    examples.write(run.examples)
    write_text(run.config, to_yaml(config))
    log.info("\n%s", to_yaml(config))

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from memshield import checkpoint as checkpoints
    from memshield.data.cache import EncodedExamples, LiveEncoder
    from memshield.families import load
    from memshield.loop import Trainer
    from memshield.progress import Progress
    from memshield.step import Encoder

    accelerator = _accelerator(config, run)
    chosen = checkpoints.choose(run, config)
    if chosen is not None:
        checkpoints.discard_after(run, chosen.step)
        log.info("Going on from %s", chosen.folder.name)
    family = load(config, facts, _placement(config, accelerator))
    captions = captions_of(source, examples) if facts.needs_captions else None
    reader: PictureReader | None = PictureReader(
        source, examples, facts.channels, int(config.resolution or 0), config.center_crop
    )
    encoder: Encoder
    if cached and reader is not None:
        encoder = EncodedExamples(config, family, examples, reader, captions)
        family.release_encoders()
        reader = None
    else:
        encoder = LiveEncoder(family, captions)
    progress = Progress(
        events,
        status,
        budget.total,
        chosen.step if chosen else 0,
        config.num_rounds,
        config.num_shards,
        _tracker(config, accelerator),
    )
    prompts = _prompts(config, examples.held_out().tolist(), examples.members().tolist(), captions)
    trainer = Trainer(
        config, run, family, examples, reader, encoder, budget, progress, stop, prompts
    )
    status.set("running", total_steps=budget.total)
    try:
        with stop.deferred():
            trainer.train(chosen)
            trainer.promote(config.num_rounds)
    finally:
        progress.close()
        if config.report_to:
            accelerator.end_training()
    log.info("Done. The model is in %s", run.model)


def _is_done(config: Config, run: RunDir) -> bool:
    """Whether this very config was trained to its end here."""
    earlier = _earlier_config(run)
    if earlier is None or not run.model.is_dir() or config.resume_from_checkpoint != "latest":
        return False
    from memshield.families import read_facts, resolve

    config = _pin(config, earlier)
    _require_same(resolve(config, read_facts(config)), earlier)
    return True


# What is checked before anything is fetched or computed


def _resolve_launch(config: Config) -> Config:
    """Take over the precision that accelerate was launched with, and refuse what cannot work."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "accelerate launch",
            f"{os.environ['WORLD_SIZE']} processes, but a run is one process",
            "Launch with --num_processes 1.",
        )
    for name, what in (("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")):
        if os.environ.get(name, "false").lower() == "true":
            raise UserError(
                "accelerate launch",
                f"{what} shards the weights, which the ensemble averages",
                f"Launch without {what}.",
            )
    precision = config.mixed_precision or os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision not in ("no", "fp16", "bf16"):
        raise UserError("mixed_precision", f"{precision} is not supported", "no, fp16 or bf16.")
    for tracker in config.report_to or ():
        if importlib.util.find_spec(tracker) is None:
            raise UserError("report_to", f"{tracker} is not installed", f"pip install {tracker}")
    if config.use_8bit_adam and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "use_8bit_adam", "bitsandbytes is not installed", "pip install bitsandbytes"
        )
    return config.model_copy(update={"mixed_precision": precision})


def _require_usable(run: RunDir) -> None:
    if run.path.exists() and not run.path.is_dir():
        raise UserError("output_dir", f"{run.path} is a file", "Choose a folder.")
    if run.path.is_dir() and not run.is_run():
        foreign = {entry.name for entry in run.path.iterdir()} - OWN_FILES
        if foreign:
            raise UserError(
                "output_dir",
                f"{run.path} holds other files ({', '.join(sorted(foreign)[:3])}) and no run",
                "Choose a new or empty folder.",
            )


def _require_hardware(config: Config) -> None:
    import torch

    if config.mixed_precision == "fp16" and not torch.cuda.is_available():
        raise UserError("mixed_precision", "fp16 needs a GPU, and there is none", "Use no or bf16.")


def _earlier_config(run: RunDir) -> Config | None:
    """The config of the run that stands here, if it got as far as a checkpoint."""
    if not run.is_run() or not (run.checkpoints() or run.rounds.is_dir()):
        return None
    return make_config(read_yaml(run.config))


def _pin(config: Config, earlier: Config | None) -> Config:
    """Go on with the commits that were read at first, where the config names none itself."""
    names = [n for n in ("revision", "dataset_revision") if getattr(config, n) is None]
    return config.model_copy(update={n: getattr(earlier, n) for n in names} if earlier else {})


def _require_same(config: Config, earlier: Config) -> None:
    """Refuse to go on where a setting differs that may not, naming it."""
    different = differing_fields(config, earlier)
    if different:
        raise UserError(
            "output_dir",
            f"{config.output_dir} holds another run; these settings differ and may not:"
            + "".join(
                f"\n  {name}: {getattr(config, name)!r}, there {getattr(earlier, name)!r}"
                for name in different
            ),
            "Take them back to go on with that run, or choose another output_dir.",
        )


def _accelerator(config: Config, run: RunDir) -> Accelerator:
    """accelerate's choice of device, precision and trackers; nothing is ever `prepare`d."""
    import torch
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    if config.allow_tf32:
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    return Accelerator(
        mixed_precision=config.mixed_precision,
        log_with=config.report_to,
        project_config=ProjectConfiguration(str(run.path), logging_dir=str(run.logs)),
    )


def _placement(config: Config, accelerator: Accelerator) -> Any:
    import torch

    from memshield.families.base import Placement

    lower = {"fp16": torch.float16, "bf16": torch.bfloat16}
    dtype = lower.get(config.mixed_precision or "no", torch.float32)
    return Placement(accelerator.device, dtype)


def _tracker(
    config: Config, accelerator: Accelerator
) -> Callable[[dict[str, float], int], None] | None:
    """Figures only: samples may be near-copies of training pictures and stay here."""
    if not config.report_to:
        return None
    from memshield.config import MethodSettings, TrainingSettings

    shown = {**MethodSettings.model_fields, **TrainingSettings.model_fields}
    values = {name: getattr(config, name) for name in shown}
    plain = {name: value for name, value in values.items() if value is not None}
    accelerator.init_trackers("memshield", config=plain)
    return lambda figures, step: accelerator.log(figures, step=step)


def _prompts(
    config: Config, held_out: list[int], members: list[int], captions: Sequence[str] | None
) -> list[str] | None:
    if captions is None:
        return None
    if config.validation_prompts:
        return config.validation_prompts
    return [captions[index] for index in (held_out or members)[:4]]


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return True
    # safetensors and arrow report the operating system's error as text only.
    return any(f"(os error {code})" in str(error) or f"[errno {code}]" in str(error)
               for code in DISK_FULL)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
