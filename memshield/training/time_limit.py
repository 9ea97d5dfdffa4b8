"""The time limit of a job: a training saves and stops shortly before it."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping

from memshield.errors import UserError
from memshield.quantities import duration
from memshield.training.interruption import StopRequest

STOP_AT = "MEMSHIELD_STOP_AT"
"""Variable of the environment: when to stop, in seconds since the epoch."""
REASON = "the time limit is near: everything is saved"
_NOTICE = 0.1
_LONGEST_NOTICE = 600.0
log = logging.getLogger("memshield")


def heed_time_limit(stop: StopRequest, environment: Mapping[str, str] = os.environ) -> None:
    """Stop this process in time, as SIGTERM does, if its environment names a time.

    Args:
        stop: is told the reason.
        environment: of the process.

    Raises:
        UserError: it names something else.
    """
    text = environment.get(STOP_AT)
    if text is None:
        return
    try:
        left = float(text) - time.time()
    except ValueError:
        raise UserError(STOP_AT, f"{text!r} is no time", "Give seconds since the epoch.") from None
    notice = min(_LONGEST_NOTICE, _NOTICE * max(0.0, left))

    def announce() -> None:
        log.info("The time limit is near: this stops in %s, and saves.", duration(notice, True))

    def end() -> None:
        stop.reason = REASON
        os.kill(os.getpid(), signal.SIGTERM)

    for seconds, call in ((left - notice, announce), (left, end)):
        timer = threading.Timer(max(0.0, seconds), call)
        timer.daemon = True
        timer.start()
