"""Where the page runs: on a Space, whose visitors sign in, or at home, for one user."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from memshield.errors import UserError

BUCKET = Path("/data")
"""Where a Space mounts its bucket, if it has one."""
_OAUTH = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")
"""Variables that the Hub sets on a Space with sign-in."""


@dataclass(frozen=True)
class Deployment:
    """Where the page runs.

    Attributes:
        on_space: whether visitors sign in.
        root: folder of jobs, runs and uploads.
        warning: about the disk, for visitors; None for no warning.
        store: file of the job store, if the root is a bucket; see `Jobs`.
    """

    on_space: bool
    root: Path
    warning: str | None
    store: Path | None = None


def find_deployment(
    environment: Mapping[str, str] = os.environ, bucket: Path = BUCKET
) -> Deployment:
    """Find out where the page runs.

    MEMSHIELD_DATA names the folder; by default a Space with a bucket uses the bucket.

    Raises:
        UserError: sign-in would be mocked on a Space: gradio would take every visitor for the
            operator.
    """
    on_space = bool(environment.get("SPACE_ID")) or environment.get("SYSTEM") == "spaces"
    if on_space:
        _require_real_sign_in(environment)
    named = environment.get("MEMSHIELD_DATA")
    if named:
        return Deployment(on_space, Path(named).expanduser().resolve(), None)
    if not on_space:
        return Deployment(False, Path("memshield-data").resolve(), None)
    if bucket.is_dir() and os.access(bucket, os.W_OK):
        store = Path.home() / "memshield-store" / "jobs.sqlite3"
        return Deployment(True, bucket / "memshield", None, store)
    return Deployment(
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
    if not environment.get("SPACE_ID"):  # without it gradio mocks the sign-in, whatever SYSTEM says
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
