"""The request for pictures, kept as data beside its job, and what it may open."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from memshield.jobs.admission import require_run_allowed
from memshield.jobs.folders import Folders
from memshield.jobs.records import Job
from memshield.rundir import RunDir, write_text
from memshield.sampling.request import SampleArguments, parse_arguments

_REQUEST = TypeAdapter(SampleArguments)


def write_sample_arguments(folders: Folders, id: str, arguments: SampleArguments) -> None:
    """Write the request of a job."""
    write_text(folders.request(id), _REQUEST.dump_json(arguments).decode() + "\n")


def read_sample_arguments(folders: Folders, job: Job) -> SampleArguments:
    """Read the request of a job."""
    try:
        return _REQUEST.validate_json(folders.request(job.id).read_bytes())
    except FileNotFoundError:  # queued by an older version, which kept the command alone
        return parse_arguments(job.tasks[-1].work.command[4:])


def require_runs_allowed(arguments: SampleArguments, owner: str, folders: Folders) -> None:
    """Refuse pictures of, or compared with, a run that is not open to the owner.

    Raises:
        UserErrors, UserError: as `admission.require_run_allowed`.
    """
    runs = [arguments.against] if arguments.against is not None else []
    if arguments.revision is None:  # with one, the target is on the Hub
        runs.append(Path(arguments.target))
    for run in runs:
        require_run_allowed(RunDir(run), owner, folders)
