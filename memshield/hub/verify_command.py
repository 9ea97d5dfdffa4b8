"""`python -m memshield verify OWNER/NAME`: whether a published model is what it claims to be."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from memshield.config.flags import given, plain_parser
from memshield.hub.account import api_for
from memshield.hub.catalog.access import require_id
from memshield.hub.verify import in_folder, on_hub, verify


def main(argv: Sequence[str]) -> int:
    """Check a repository, or a folder; 1 where a check fails."""
    own = given(
        reading_parser("verify", "Check that a published model is what it claims to be."),
        argv,
    )
    name = own["repo_id"]
    # What looks like an id is one: a folder of that name is named with ./ before it.
    if Path(name).is_dir() and (name.count("/") != 1 or name[0] in "./~"):
        holding = in_folder(Path(name))
    else:
        holding, _ = on_hub(api_for(), require_id(name, "model", "repo_id"), own["revision"])
    checks = verify(holding)
    for check in checks:
        print(f"{'FAILED' if check.problems else 'ok':<7} {check.what}")
        for problem in check.problems:
            print(f"        {problem}")
    return 1 if any(check.problems for check in checks) else 0


def reading_parser(name: str, description: str) -> argparse.ArgumentParser:
    """A parser of the commands that read a published model."""
    parser = plain_parser(f"python -m memshield {name}", description)
    parser.add_argument("repo_id", metavar="OWNER/NAME", help="repository")
    parser.add_argument(
        "--revision", metavar="NAME", help="tag, branch or commit; the newest without"
    )
    return parser
