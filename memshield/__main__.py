"""The commands beside training: `python -m memshield COMMAND ...`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from memshield.errors import UserError
from memshield.imports import many_imports
from memshield.jobs import endings
from memshield.redaction import guard_logging, redact


class Command(NamedTuple):
    """A command: the module whose `main` runs it, imported only then, and what it does."""

    module: str
    help: str


COMMANDS = {
    "search": Command("memshield.hub.catalog.search_command", "find models and datasets"),
    "describe": Command(
        "memshield.hub.catalog.describe_command", "say what a model or dataset there is"
    ),
    "plan": Command("memshield.forecast.plan", "say what a training would do, without training"),
    "sample": Command(
        "memshield.sampling.command", "make pictures with a run's or a published model"
    ),
    "audit": Command(
        "memshield.audit.command", "measure what a model gives back of its training pictures"
    ),
    "compare": Command(
        "memshield.runs.compare", "set models or rounds side by side, and choose one"
    ),
    "publish": Command("memshield.hub.publish.command", "put a run's model and audit on the Hub"),
    "pull": Command("memshield.hub.pull", "fetch a published model, and check it"),
    "export": Command("memshield.hub.export", "write a LoRA for ComfyUI or kohya's sd-scripts"),
    "submit": Command("memshield.jobs.terminal.submit", "train on Hugging Face Jobs"),
    "runs": Command("memshield.jobs.terminal.runs", "list runs, here and on Jobs, with their cost"),
    "follow": Command("memshield.jobs.terminal.follow", "follow a training, here or on Jobs"),
    "stop": Command("memshield.jobs.terminal.stop", "stop a training on Jobs, which saves"),
    "resume": Command("memshield.jobs.terminal.resume", "go on with a training on Jobs"),
    "fetch": Command("memshield.jobs.terminal.fetch", "bring a run on Jobs here"),
    "verify": Command(
        "memshield.hub.verify", "check that a published model is consistent with itself"
    ),
}
ON_JOBS = ("audit", "compare", "sample")
"""Commands that --hardware runs as a job, on a run that lies in a bucket."""
ON_COPIES = (*ON_JOBS, "export", "publish")
"""Commands that work here on a copy of such a run, which its id stands for."""
USAGE = "usage: python -m memshield COMMAND ...\n\ncommands:\n" + "".join(
    f"  {name:<10}{command.help}\n" for name, command in COMMANDS.items()
)
USAGE += (
    "\nTo train: accelerate launch -m memshield.train --config FILE\n"
    f"\n{', '.join(ON_COPIES)} take the id of a run on Jobs, too;\n"
    f"{', '.join(ON_JOBS)} with --hardware NAME work there.\n"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 2 for what the user can mend.

    Args:
        argv: its name and words; None for those of the process, as the `memshield` script calls it.
    """
    with endings.noted() as ending:
        _main(sys.argv[1:] if argv is None else argv, ending)
    return ending.code


def _main(argv: Sequence[str], ending: endings.Ending) -> None:
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, end="")
        ending.code = 0 if argv else 2
        return
    if argv[0] not in COMMANDS:
        told = "it is a program of its own" if argv[0] == "train" else "unknown command"
        print(f"{argv[0]}: {told}\n\n{USAGE}", end="", file=sys.stderr)
        ending.code = 2
        return
    guard_logging()
    try:
        ending.code = _run(argv[0], argv[1:])
    except UserError as error:
        print(redact(str(error)), file=sys.stderr)
        ending.refuse(error)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        ending.code = 128 + signal.SIGINT
    except OSError as error:
        if error.errno is None:
            raise
        print(redact(f"{error.filename or argv[0]}: {error.strerror}"), file=sys.stderr)
        ending.code = 2


def _run(name: str, words: Sequence[str]) -> int:
    if name in ON_JOBS and any(word.partition("=")[0] == "--hardware" for word in words):
        from memshield.jobs.terminal.on_run import run_there

        return run_there(name, words)
    if name in ON_COPIES and words and "/" not in words[0] and not Path(words[0]).exists():
        from memshield.jobs.terminal.on_run import bring_here, is_there

        if is_there(words[0]):
            words = bring_here(words)
    with many_imports():
        command = import_module(COMMANDS[name].module)
    code: int = command.main(words)
    return code


if __name__ == "__main__":
    sys.exit(main())
