"""The commands beside training: `python -m memshield COMMAND ...`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from memshield.errors import UserError
from memshield.redaction import redact

COMMANDS = {
    "plan": ("memshield.plan:main", "say what a training would do, without training"),
    "sample": ("memshield.sample:main", "make pictures with a run's model"),
    "audit": (
        "memshield.audit.command:main",
        "measure what a model gives back of its training images",
    ),
    "compare": (
        "memshield.audit.compare:main",
        "set models or rounds side by side, and choose one",
    ),
    "publish": ("memshield.hub.commands:publish", "put a run's model on the Hub, with its audit"),
    "pull": ("memshield.hub.commands:pull", "fetch a published model, and check it"),
    "verify": (
        "memshield.hub.commands:verify_command",
        "check a published model against its own claims",
    ),
}
"""Where each command is, and what it does; only the one that is asked for is imported."""
USAGE = "usage: python -m memshield COMMAND ...\n\ncommands:\n" + "".join(
    f"  {name:<10}{what}\n" for name, (_, what) in COMMANDS.items()
)


def _find(name: str) -> Callable[[Sequence[str]], int]:
    module, _, function = COMMANDS[name][0].partition(":")
    found: Callable[[Sequence[str]], int] = getattr(import_module(module), function)
    return found


def main(argv: Sequence[str]) -> int:
    """Run a command; 2 for what the user can mend."""
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        print(f"unknown command {argv[0]!r}\n\n{USAGE}", end="", file=sys.stderr)
        return 2
    try:
        return _find(argv[0])(argv[1:])
    except UserError as error:
        print(redact(str(error)), file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
