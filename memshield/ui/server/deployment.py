"""Where the page runs: on a Space, whose visitors sign in, or at home, where there is one user."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from memshield.errors import UserError

BUCKET = Path("/data")
"""Where a Space mounts its bucket, if it has one."""
_OAUTH = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")
"""What the Hub gives a Space with sign-in."""


@dataclass(frozen=True)
class Place:
    """Where the page runs.

    Attributes:
        on_space: whether visitors are strangers who sign in.
        root: folder of jobs, runs and uploads.
        warning: what a visitor has to know of the disk; None for nothing.
        store: file of the job store, where the root is a bucket; see `Jobs`.
    """

    on_space: bool
    root: Path
    warning: str | None
    store: Path | None = None


def find_place(environment: Mapping[str, str] = os.environ, bucket: Path = BUCKET) -> Place:
    """Find out where the page runs.

    MEMSHIELD_DATA names the folder; on a Space it is the bucket where there is one.

    Raises:
        UserError: on a Space where sign-in would be mocked: gradio then takes everybody for the
            operator.
    """
    on_space = bool(environment.get("SPACE_ID")) or environment.get("SYSTEM") == "spaces"
    if on_space:
        _require_real_sign_in(environment)
    named = environment.get("MEMSHIELD_DATA")
    if named:
        return Place(on_space, Path(named).expanduser().resolve(), None)
    if not on_space:
        return Place(False, Path("memshield-data").resolve(), None)
    if bucket.is_dir() and os.access(bucket, os.W_OK):
        store = Path.home() / "memshield-store" / "jobs.sqlite3"
        return Place(True, bucket / "memshield", None, store)
    return Place(
        True,
        Path.home() / "memshield-data",
        "This Space has no bucket: runs are lost when it restarts. Publish what you want to keep.",
    )


def _require_real_sign_in(environment: Mapping[str, str]) -> None:
    if environment.get("SYSTEM") != "spaces":
        raise UserError(
            "SYSTEM",
            "this is a Space, and SYSTEM is not `spaces`: sign-in would be mocked, and every "
            "visitor taken for the operator",
            "Set SYSTEM=spaces in the Dockerfile.",
        )
    if not environment.get("SPACE_ID"):  # gradio takes it for no Space then, whatever SYSTEM says
        raise UserError(
            "SPACE_ID",
            "SYSTEM is `spaces`, and SPACE_ID is not set: sign-in would be mocked, and every "
            "visitor taken for the operator",
            "The Hub sets it on a Space; at home set SYSTEM=home.",
        )
    missing = [name for name in _OAUTH if not environment.get(name)]
    if missing:
        raise UserError(
            "hf_oauth",
            f"this is a Space without sign-in ({', '.join(missing)} not set)",
            "Set hf_oauth: true in the front matter of the README.",
        )
