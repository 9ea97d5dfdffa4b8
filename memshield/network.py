"""What the Hub's client raises when no answer comes at all."""

from __future__ import annotations

# The HTTP library of the pinned huggingface_hub, which lets its errors through.
from httpx2 import TransportError

NO_ANSWER = (TransportError, OSError)
"""Refused or broken connections, unknown hosts, timeouts; catch the Hub's own refusals first."""
