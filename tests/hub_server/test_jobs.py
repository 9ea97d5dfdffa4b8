"""Jobs with the real client: they run, read and write their volumes, and end in every way."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from huggingface_hub import HfApi, JobInfo, Volume
from huggingface_hub.errors import HfHubHTTPError

from tests.hub_server import HubServer
from tests.hub_server.asking import Client

pytestmark = pytest.mark.process
WAITS = "import time; print('begun', flush=True); time.sleep(60)"


def run(api: HfApi, program: str, *words: str, **options: Any) -> JobInfo:
    options = {"image": "python:3.11", "flavor": "cpu-basic", "timeout": "5m", **options}
    return api.run_job(command=["python", "-c", program, *words], namespace="ada", **options)


def ended(api: HfApi, job: JobInfo) -> JobInfo:
    found: JobInfo = until(lambda: look(api, job), lambda found: found.finished_at is not None)
    return found


def look(api: HfApi, job: JobInfo) -> JobInfo:
    return api.inspect_job(job_id=job.id, namespace="ada")


def until(find: Callable[[], Any], good: Callable[[Any], bool], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not good(found := find()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def test_a_job_reads_and_writes_its_volumes(hub: HubServer, client: Client) -> None:
    api = client("hf_ada")
    api.create_bucket("ada/runs", private=True)
    api.batch_bucket_files("ada/runs", add=[(b"4", "one/in.txt"), (b"kept", "fixed/a.txt")])
    program = (
        "import os, sys, pathlib as p; root, fixed = map(p.Path, sys.argv[1:])\n"
        "(root / 'out.txt').write_text((root / 'in.txt').read_text() * 2)\n"
        "(fixed / 'a.txt').write_text('changed')\n"
        "print(os.environ['COLOUR'], len(os.environ['WORD']), os.environ.get('HF_TOKEN'))"
    )
    job = run(
        api, program, "/mnt/run", "/mnt/fixed",
        env={"COLOUR": "red"}, secrets={"WORD": "sesame"}, labels={"of": "us"},
        volumes=[
            Volume(type="bucket", source="ada/runs", path="one", mount_path="/mnt/run"),
            Volume(
                type="bucket", source="ada/runs", path="fixed", mount_path="/mnt/fixed",
                read_only=True,
            ),
        ],
    )  # fmt: skip
    found = ended(api, job)
    assert found.status.stage == "COMPLETED"
    assert list(api.fetch_job_logs(job_id=job.id, namespace="ada")) == ["red 6 None"]
    bucket = hub.buckets.get("ada/runs")
    assert bucket is not None
    assert bucket.path("one/out.txt").read_text() == "44"
    assert bucket.path("fixed/a.txt").read_text() == "kept"
    assert "sesame" not in str(found)


def test_jobs_end_by_failing_by_cancel_and_by_time(hub: HubServer, client: Client) -> None:
    api = client("hf_ada")
    failing = ended(api, run(api, "import sys; sys.exit(3)"))
    assert (failing.status.stage, failing.status.message) == (
        "ERROR",
        "Job failed with exit code: 3",
    )
    late = ended(api, run(api, WAITS, timeout=1))
    assert (late.status.stage, late.status.message) == ("ERROR", "Job timeout")
    cancelled = run(api, WAITS)
    api.cancel_job(job_id=cancelled.id, namespace="ada")
    assert ended(api, cancelled).status.stage == "CANCELED"
    missing = run(api, WAITS, image="broken/image")
    assert "pull the image" in str(look(api, missing).status.message)


def test_jobs_are_listed_by_label_page_by_page(client: Client) -> None:
    with HubServer(page_size=2) as hub:
        hub.add_user("ada", "hf_ada")
        api = HfApi(hub.endpoint, token="hf_ada")
        jobs = [run(api, "", labels={"of": "us", "n": str(n)}) for n in range(3)]
        run(api, "", labels={"of": "them"})
        found = list(api.list_jobs(namespace="ada", labels={"of": "us"}))
        assert [one.id for one in found] == [one.id for one in reversed(jobs)]
        hub.jobs.forget(jobs[0].id)
        with pytest.raises(HfHubHTTPError):
            look(api, jobs[0])


def test_refusals(hub: HubServer, client: Client) -> None:
    api = client("hf_ada")
    with pytest.raises(HfHubHTTPError, match="does not exist"):
        run(api, "", flavor="quantum")
    with pytest.raises(HfHubHTTPError, match="may not see or run"):
        run(client("hf_eve"), "")
    hub.jobs.without_credit.add("ada")
    with pytest.raises(HfHubHTTPError, match="Payment required"):
        run(api, "")
    hub.jobs.without_credit.clear()
    hub.jobs.full.add("a10g-small")
    assert run(api, "", flavor="a10g-small").status.stage == "SCHEDULING"
    assert any(one.unit_cost_usd > 0 for one in api.list_jobs_hardware())
