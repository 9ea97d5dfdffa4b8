"""The commands beside training: `python -m memshield COMMAND ...`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from memshield.errors import UserError

COMMANDS = {
    "plan": "say what a training would do, without training",
    "sample": "make pictures with a run's model",
    "audit": "measure what a model gives back of its training images",
    "compare": "set models or rounds side by side, and choose one",
}
USAGE = "usage: python -m memshield COMMAND ...\n\ncommands:\n" + "".join(
    f"  {name:<10}{what}\n" for name, what in COMMANDS.items()
)


def _find(name: str) -> Callable[[Sequence[str]], int]:
    if name == "plan":
        from memshield.plan import main
    elif name == "sample":
        from memshield.sample import main
    elif name == "audit":
        from memshield.audit.command import main
    else:
        from memshield.audit.compare import main
    return main


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
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
