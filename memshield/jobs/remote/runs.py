"""The runs of an account that the Hub knows by their label, with what it takes to follow them."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from memshield.jobs.records import Found, Place
from memshield.jobs.remote.client import HubClient
from memshield.jobs.remote.places import with_meant
from memshield.jobs.remote.record import REQUEST, SETTINGS, RunRecord

_MOST = 20
_UNKNOWN = {
    "model_config_name_or_path": "configs/models/digits-unet.json",
    "dataset_name": "sklearn:digits",
}
"""Stand for the settings of a run of which only its job is left, until that is stopped."""


def find_runs(client: HubClient) -> Iterator[Found]:
    """Runs with a job, those of the newest jobs first; no more than anybody looks at.

    A run whose folder in the bucket is gone is among them only while a job of it is paid for.

    Raises:
        UserError: they cannot be asked for now.
    """
    seen: set[str] = set()
    for job in client.jobs():
        if not job.run or job.run in seen or (len(seen) >= _MOST and not job.is_active):
            continue
        seen.add(job.run)
        request, settings = (client.read(f"{job.run}/{name}") for name in (REQUEST, SETTINGS))
        if request is None or request.data is None or settings is None or settings.data is None:
            if job.is_active:
                place = Place(job.hardware, 0, job.run, job.mark, found=True)
                yield Found(place, job.name, _UNKNOWN, job.created)
            continue
        record = RunRecord.parse(request.data, job.run)
        values = with_meant(yaml.safe_load(settings.data), record.meant)
        place = Place(record.hardware, record.seconds, record.id, record.mark, found=True)
        yield Found(place, record.name, values, job.created)
