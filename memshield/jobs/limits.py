"""Limits of a server of jobs."""

from __future__ import annotations

from dataclasses import dataclass

from memshield.jobs.backends.seam import GRACE


@dataclass(frozen=True)
class JobLimits:
    """Limits of a server.

    Attributes:
        queued: tasks that one owner may have in the queue.
        without_device: tasks that may run at once beside those on a device.
        grace: seconds from asking a task to stop to ending it.
    """

    queued: int = 20
    without_device: int = 4
    grace: float = GRACE
