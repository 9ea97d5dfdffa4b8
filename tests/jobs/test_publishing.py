"""Publishing as a job sees it; and a real training that publishes to a loopback Hub."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from memshield.jobs.limits import JobLimits
from memshield.jobs.records import Job
from memshield.jobs.service import Jobs
from memshield.rundir import this_process
from memshield.runs.publication import path_of, read_publication
from tests.hub_server import Fault, HubServer
from tests.jobs.children import DEMO, DONE, Scripted, ended, open_jobs, task_of, until, view

pytestmark = pytest.mark.process

ADAS = "hf_" + "adasowntokenofthirtyfourletters"
HOSTS = "hf_" + "hostsowntokenofthirtyfourletter"
SMALL = {
    "max_train_samples": 60,
    "num_shards": 2,
    "num_rounds": 1,
    "train_batch_size": 4,
    "max_train_steps": 2,
    "num_validation_images": 0,
}


PUBLISHES = """
import signal, sys, time
from memshield.runs.publication import Publication
from memshield.rundir import RunDir
signal.signal(signal.SIGTERM, signal.SIG_IGN)
run = RunDir(sys.argv[1])
Publication(run, "ada/digits", "again").at("uploading")
time.sleep(600)
"""
NAMED = {"hub_model_id": "ada/digits"}


def publishing(jobs: Jobs) -> Job:
    """A job that is being published."""
    job = jobs.submit("", {**DEMO, **NAMED})
    until(lambda: ended(jobs, job), jobs=jobs)
    jobs.publish("", job.id, NAMED)
    run = jobs.folders.run(job)
    until(lambda: read_publication(run).get("step") == "uploading", jobs=jobs)
    assert view(jobs, job).publishing.state == "running"
    return job


def test_publishing_that_had_to_be_ended_is_stopped(root: Path) -> None:
    now = time.time()
    jobs = open_jobs(root, commands=Scripted(DONE, PUBLISHES), limits=JobLimits(grace=60),
                     now=lambda: now)  # fmt: skip
    job = publishing(jobs)
    jobs.stop("", job.id)
    assert view(jobs, job).publishing.state == "stopping"
    now += 61
    until(lambda: ended(jobs, job), jobs=jobs)
    assert view(jobs, job).publishing.state == "stopped"
    jobs.close()


@pytest.mark.parametrize("by_training", [False, True])
def test_publishing_whose_task_has_ended_does_not_run_on(root: Path, by_training: bool) -> None:
    jobs = open_jobs(root, commands=Scripted(DONE, PUBLISHES))
    values: dict[str, Any]
    if by_training:
        job = jobs.submit("", {**DEMO, **NAMED})
        until(lambda: ended(jobs, job), jobs=jobs)
        values = {"state": "running", "step": "uploading", "process": this_process(0)}
    else:
        job = publishing(jobs)
        os.kill(int(task_of(jobs, job).pid or 0), 9)
        until(lambda: ended(jobs, job), jobs=jobs)
        values = read_publication(jobs.folders.run(job))
    # The server that is started anew has another name, as every container has.
    values["process"]["host"] = "the-container-of-before"
    path_of(jobs.folders.run(job)).write_text(json.dumps(values))
    shown = view(jobs, job)
    assert shown.publishing.state == "died"
    assert "Publishing again goes on" in str(shown.publishing.reason)
    assert "publish" in shown.actions
    jobs.close()


@pytest.mark.slow
def test_a_failed_push_is_published_later_with_the_owners_token(root: Path) -> None:
    with HubServer() as hub:
        hub.add_user("ada", ADAS)
        hub.add_user("operator", HOSTS)
        hub.fail(Fault("answer", path="/preupload/", status=403, message="No room", times=None))
        environment = {**hub.environ(root / "home", HOSTS), "OMP_NUM_THREADS": "1"}
        jobs = Jobs(root, ["cpu"], environment=environment)
        jobs.scheduler.run()
        published = {"push_to_hub": True, "hub_model_id": "ada/digits", "hub_license": "mit"}
        job = jobs.submit("ada", {**DEMO, **SMALL, **published})
        time.sleep(0.3)
        assert view(jobs, job).training.state == "needs_sign_in"
        jobs.tokens.keep("ada", ADAS, time.time() + 1000)
        jobs.scheduler.wake()
        until(lambda: ended(jobs, job), 120)
        shown = view(jobs, job)
        assert shown.training.state == "done", jobs.log("ada", job.id)
        assert shown.training.last_lines == ()
        assert shown.publishing.state == "failed"
        assert "No room" in str(shown.publishing.reason)
        assert "publish" in shown.actions
        hub.clear_faults()
        jobs.publish("ada", job.id)
        until(lambda: ended(jobs, job), 120)
        shown = view(jobs, job)
        assert shown.publishing.state == "done", jobs.log("ada", job.id)
        assert str(shown.publishing.url).endswith("/ada/digits")
        assert hub.exists("model", "ada/digits")
        jobs.close()
    for path in root.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert ADAS.encode() not in data and HOSTS.encode() not in data, path
