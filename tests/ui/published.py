"""Runs of a server that have published their model, without training them anew."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from memshield.config.file import make_config, read_yaml, to_yaml
from memshield.jobs.records import LOCAL
from memshield.jobs.service import Jobs
from memshield.rundir import RunDir
from tests.hub.publishing import publish

DIGITS = "configs/models/digits-unet.json"


def own_run(data: Path, trained: Path, owner: str = LOCAL, name: str = "digits") -> RunDir:
    """A run of an owner of the server that keeps its jobs in `data`.

    Args:
        data: of a server that does not run yet.
        trained: a run directory, which is copied.
        owner, name: of the job.
    """
    jobs = Jobs(data, ["cpu"])
    changed = {} if owner == LOCAL else {"model_config_name_or_path": DIGITS}
    values = {**read_yaml(trained / "config.yaml"), **changed}
    job = jobs.submit(owner, values, name)
    jobs.stop(owner, job.id)
    run = jobs.folders.run(job)
    shutil.copytree(trained, run.path)
    # What an owner's run may be made of; its pictures are the same.
    settings = {**read_yaml(run.config), **changed}
    run.config.write_text(to_yaml(make_config(settings)))
    jobs.close()
    return run


def publish_run(run: RunDir, repo_id: str, **changes: Any) -> str:
    """Publish a run, for everybody to read unless told otherwise; the repository."""
    return publish(run, **{"hub_model_id": repo_id, "hub_private_repo": False, **changes}).repo_id
