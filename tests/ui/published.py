"""Runs of a server that have published their model, without training them anew."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from memshield.config import read_yaml
from memshield.jobs.records import LOCAL
from memshield.jobs.service import Jobs
from memshield.rundir import RunDir
from tests.hub.publishing import publish


def own_run(data: Path, trained: Path, owner: str = LOCAL, name: str = "digits") -> RunDir:
    """A run of an owner of the server that keeps its jobs in `data`.

    Args:
        data: of a server that does not run yet.
        trained: a run directory, which is copied.
        owner, name: of the job.
    """
    jobs = Jobs(data, ["cpu"])
    values = {**read_yaml(trained / "config.yaml"), "push_to_hub": False}
    if owner != LOCAL:
        values |= {"model_config_name_or_path": "configs/models/digits-unet.json"}
    job = jobs.submit(owner, values, name)
    jobs.stop(owner, job.id)
    run = jobs.folders.run(job)
    shutil.copytree(trained, run.path)
    jobs.close()
    return run


def publish_run(run: RunDir, repo_id: str, **changes: Any) -> str:
    """Publish a run for everybody to read; the repository."""
    return publish(run, hub_model_id=repo_id, hub_private_repo=False, **changes).repo_id
