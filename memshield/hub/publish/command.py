"""`python -m memshield publish RUN`: a run's model and its audit, on the Hub."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from memshield.config.flags import config_parser, given
from memshield.config.schema import HubSettings
from memshield.errors import UserError
from memshield.hub.publish.publishing import Publisher, open_to_publish
from memshield.redaction import guard_logging


def main(argv: Sequence[str]) -> int:
    """Publish a run's model, or with --preview only assemble it."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("memshield").setLevel(logging.INFO)
    guard_logging()
    parser = config_parser(
        "python -m memshield publish",
        "Publish a run's model with its audit. Publishing it again changes nothing; after a "
        "failure the same command goes on. The token is HF_TOKEN, or that of `hf auth login`.",
        (HubSettings,),
        "RUN --hub_model_id OWNER/NAME [--name value ...]",
    )
    parser.add_argument("run", metavar="RUN", help="run directory")
    parser.add_argument(
        "--beside",
        metavar="[NAME=]PATH",
        action="append",
        help="audit or audited run to set beside it on the card, such as plain=runs/plain",
    )
    parser.add_argument(
        "--preview", metavar="DIR", help="write what would be published into DIR, send nothing"
    )
    own = given(parser, argv)
    changes = {name: own[name] for name in HubSettings.model_fields if name in own}
    # An exception, so that publish.json says how it ended.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    run, config = open_to_publish(Path(own["run"]), **changes)
    publisher = Publisher(run, config, beside=own.get("beside", ()))
    if "preview" in own:
        return _preview(publisher, Path(own["preview"]))
    published = publisher.publish()
    who = "everybody can read it" if published.public else "private"
    done = "Published" if published.changed else "Published before, nothing changed"
    print(f"{done}: {published.url} ({who}), tag {published.tag}")
    return 0


def _preview(publisher: Publisher, folder: Path) -> int:
    if folder.exists():
        raise UserError("--preview", f"{folder} is there already", "Name a new folder.")
    destination, manifest = publisher.preview(folder)
    print(f"{destination.repo_id}, {'public' if destination.public else 'private'}, {manifest.tag}")
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        print(f"{path.stat().st_size:>12,}  {path.relative_to(folder)}")
    print(f"Card: {folder / 'README.md'}")
    return 0
