"""`python -m memshield pull OWNER/NAME`: a published model, checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memshield.config.flags import given
from memshield.hub.catalog.access import require_id
from memshield.hub.manifest import Manifest
from memshield.hub.pull import fetch
from memshield.hub.verify_command import reading_parser


def main(argv: Sequence[str]) -> int:
    """Fetch a published model and check it."""
    parser = reading_parser("pull", "Fetch a published model, check it, and say how to load it.")
    parser.add_argument("--output_dir", metavar="DIR", help="where to put it; the cache without")
    own = given(parser, argv)
    folder = Path(own["output_dir"]) if own["output_dir"] else None
    repo_id = require_id(own["repo_id"], "model", "repo_id")
    local, manifest = fetch(repo_id, own["revision"], folder=folder)
    print(f"Every file is as it was published.\n{_summary(manifest)}\n{local}")
    print(f'Load it with:\n  from memshield.hub.pull import pull\n  pipeline = pull("{repo_id}")')
    return 0


def _summary(manifest: Manifest) -> str:
    return manifest.audit.verdict if manifest.audit else "It was not audited."
