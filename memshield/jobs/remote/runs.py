"""The runs of an account that the Hub knows by their label, with what it takes to follow them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import yaml

from memshield.errors import UserError
from memshield.jobs.records import Found, Place
from memshield.jobs.remote.client import HubClient, RemoteJob, UnreachableError
from memshield.jobs.remote.places import with_meant
from memshield.jobs.remote.record import MOST_BYTES, REQUEST, SETTINGS, RunRecord

log = logging.getLogger("memshield")
_MOST, _LATELY = 20, 2 * 86_400.0
_UNKNOWN = {
    "model_config_name_or_path": "configs/models/digits-unet.json",
    "dataset_name": "sklearn:digits",
}
"""Stand for the settings of a run of which only its job is left, until that is stopped."""


def find_runs(client: HubClient, now: float) -> Iterator[Found]:
    """Runs with a job that goes on or was started lately, those of the newest jobs first.

    A run whose folder in the bucket is gone, or is not understood, is among them only while a job
    of it is paid for; the place of such a one has no time limit.

    Raises:
        UserError: they cannot be asked for now.
    """
    seen: set[str] = set()
    for job in client.jobs():
        is_old = now - job.created > _LATELY or len(seen) >= _MOST
        # An audit of a run is no training that could be followed.
        if not job.run or job.kind != "train" or job.run in seen or (is_old and not job.is_active):
            continue
        seen.add(job.run)
        found = _read(client, job)
        if found is not None:
            yield found
        elif job.is_active:
            place = Place(job.hardware, 0, job.run, job.mark, found=True)
            yield Found(place, job.name, _UNKNOWN, job.created)


def _read(client: HubClient, job: RemoteJob) -> Found | None:
    """The run of a job; None where its folder is gone, or cannot be read by this version."""
    try:
        request, settings = (
            client.read(f"{job.run}/{name}", most=MOST_BYTES) for name in (REQUEST, SETTINGS)
        )
        if request is None or request.data is None or settings is None or settings.data is None:
            return None
        record = RunRecord.parse(request.data, job.run)
        values = yaml.safe_load(settings.data)
        if not isinstance(values, dict):
            raise UserError("run", f"the settings of {job.run} are no settings", "")
    except UnreachableError:
        raise
    except (UserError, yaml.YAMLError) as error:
        log.warning("the run %s cannot be shown: %s", job.run, error)
        return None
    place = Place(record.hardware, record.seconds, job.run, job.mark, found=True)
    return Found(place, record.name, with_meant(values, record.meant), job.created)
