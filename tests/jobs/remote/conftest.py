"""A Hub that runs jobs, and the commands of this process connected to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from memshield.jobs.remote import submission
from memshield.jobs.terminal import shared
from tests.hub_server import HubServer
from tests.hub_server.in_process import connect
from tests.jobs.remote.runs import TOKEN


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer(keep_bodies=True) as server, pytest.MonkeyPatch.context() as patch:
        server.add_user("ada", TOKEN)
        connect(patch, server.endpoint)
        patch.setenv("HF_TOKEN", TOKEN)
        patch.setattr(submission, "COPY_SECONDS", 0.2)
        # Looks follow each other closely.
        patch.setattr(shared, "LIVE_SECONDS", 0.1)
        patch.setattr(shared, "JOBS_SECONDS", 0.1)
        yield server


@pytest.fixture(autouse=True)
def no_jobs_left(hub: HubServer) -> Iterator[None]:
    yield
    for job in hub.jobs.of("ada"):
        job.end("CANCELED")
    hub.jobs.without_credit.clear()
    hub.jobs.full.clear()
