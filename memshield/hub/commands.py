"""`python -m memshield publish`, `pull` and `verify`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memshield.errors import UserError
from memshield.flags import config_parser, given
from memshield.hub.account import api_for
from memshield.hub.manifest import Manifest
from memshield.hub.names import require_repo_id
from memshield.hub.publish import Publisher, open_to_publish
from memshield.hub.pull import fetch
from memshield.hub.verify import in_folder, on_hub, verify
from memshield.redaction import guard_logging
from memshield.settings import HubSettings


def publish(argv: Sequence[str]) -> int:
    """Publish a run's model, or with --preview only assemble it."""
    import logging

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


def pull(argv: Sequence[str]) -> int:
    """Fetch a published model and check it."""
    parser = _reader("pull", "Fetch a published model, check it, and say how to load it.")
    parser.add_argument("--output_dir", metavar="DIR", help="where to put it; the cache without")
    own = given(parser, argv)
    folder = Path(own["output_dir"]) if "output_dir" in own else None
    local, manifest = fetch(own["repo_id"], own.get("revision"), folder=folder)
    print(f"Every file is as it was published.\n{_summary(manifest)}\n{local}")
    print(
        "Load it with:\n  from memshield.hub.pull import pull\n"
        f'  pipeline = pull("{require_repo_id("repo_id", own["repo_id"])}")'
    )
    return 0


def verify_command(argv: Sequence[str]) -> int:
    """Check a repository, or a folder; 1 where a check fails."""
    own = given(
        _reader("verify", "Check that a published model is what its card and audit claim."), argv
    )
    name = own["repo_id"]
    if Path(name).is_dir():
        holding = in_folder(Path(name))
    else:
        holding, _ = on_hub(api_for(), require_repo_id("repo_id", name), own.get("revision"))
    checks = verify(holding)
    for check in checks:
        print(f"{'FAILED' if check.problems else 'ok':<7} {check.what}")
        for problem in check.problems:
            print(f"        {problem}")
    return 1 if any(check.problems for check in checks) else 0


def _reader(name: str, description: str) -> argparse.ArgumentParser:
    parser = config_parser(
        f"python -m memshield {name}", description, (), "OWNER/NAME [--revision TAG]"
    )
    parser.add_argument("repo_id", metavar="OWNER/NAME", help="repository")
    options: dict[str, Any] = {"metavar": "NAME"}
    parser.add_argument("--revision", help="tag, branch or commit; the newest without", **options)
    return parser


def _summary(manifest: Manifest) -> str:
    return manifest.audit.verdict if manifest.audit else "It was not audited."
