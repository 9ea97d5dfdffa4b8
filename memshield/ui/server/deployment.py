"""Where the page runs: on a Space, whose visitors sign in, or at home, for one user."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from memshield.errors import UserError
from memshield.paths import expanded

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
        hosts: in the page's public addresses, as a proxy may not tell them.
        hub: origin of the Hub whose pages show the Space in a frame; None at home.
    """

    on_space: bool
    root: Path
    warning: str | None
    store: Path | None = None
    hosts: tuple[str, ...] = ()
    hub: str | None = None


def find_deployment(
    environment: Mapping[str, str] = os.environ, bucket: Path = BUCKET
) -> Deployment:
    """Find out where the page runs.

    MEMSHIELD_DATA names the folder; by default a Space with a bucket uses the bucket. SPACE_HOST
    on a Space, and MEMSHIELD_HOST at home, name the page's hosts, with commas between them.

    Raises:
        UserError: sign-in would be mocked on a Space: gradio would take every visitor for the
            operator.
    """
    on_space = bool(environment.get("SPACE_ID")) or environment.get("SYSTEM") == "spaces"
    if on_space:
        _require_real_sign_in(environment)
    root, warning, store = _storage(on_space, environment.get("MEMSHIELD_DATA"), bucket)
    named = environment.get("SPACE_HOST" if on_space else "MEMSHIELD_HOST", "")
    hosts = tuple(host.strip() for host in named.split(",") if host.strip())
    # The Hub's pages are where its sign-in is.
    hub = urlsplit(environment["OPENID_PROVIDER_URL"]) if on_space else None
    return Deployment(
        on_space, root, warning, store, hosts, f"{hub.scheme}://{hub.netloc}" if hub else None
    )


def _storage(
    on_space: bool, named: str | None, bucket: Path
) -> tuple[Path, str | None, Path | None]:
    """The folder, the warning about it, and the file of the job store."""
    if named:
        return expanded(named).resolve(), None, None
    if not on_space:
        return Path("memshield-data").resolve(), None, None
    if bucket.is_dir() and os.access(bucket, os.W_OK):
        store = Path.home() / "memshield-store" / "jobs.sqlite3"
        return bucket / "memshield", None, store
    return (
        Path.home() / "memshield-data",
        "This Space has no bucket: runs are lost when it restarts. Publish what you want to keep.",
        None,
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
