"""A real training that publishes to a loopback Hub as its owner, and publishing it once more."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from memshield.jobs.service import Jobs
from tests.hub_server import Fault, HubServer
from tests.jobs.children import DEMO, ended, until, view

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
