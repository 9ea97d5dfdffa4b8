"""The environment in which a child process takes the loopback Hub for the real one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# Settings of whoever runs the tests: tokens, caches, endpoints, offline switches.
FOREIGN_PREFIXES = ("HF_", "HUGGING", "TRANSFORMERS_OFFLINE", "TRANSFORMERS_CACHE")
# Clients would ask a proxy even for loopback.
PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})


def child_environment(
    inherited: Mapping[str, str], endpoint: str, home: Path, token: str | None
) -> dict[str, str]:
    """All of a child's environment. It must be there at the child's start, for the clients read
    it when they are imported."""
    environment = {
        name: value
        for name, value in inherited.items()
        if not name.upper().startswith(FOREIGN_PREFIXES) and name.upper() not in PROXIES
    }
    environment |= {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",  # a client with xet does not fall back to plain HTTP
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # else load_dataset sends a HEAD to a storage bucket
    }
    if token is not None:
        environment["HF_TOKEN"] = token
    return environment
