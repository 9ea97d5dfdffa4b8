"""Jobs of several owners beside the queue of this machine."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from memshield.errors import UserError
from memshield.jobs.backends.accounts import Accounts
from memshield.jobs.backends.hub_jobs import HubJobs
from memshield.jobs.records import Job, Place
from memshield.jobs.service import Jobs
from memshield.jobs.view import JobView
from memshield.rundir import StatusFile
from tests.hub_server import HubServer
from tests.jobs.children import DEMO, SLEEPS, ended, open_jobs, task_of, until, view
from tests.jobs.remote.runs import (
    AUDITS,
    ENDS,
    TOKEN,
    TRAINED,
    WAITS,
    assert_nowhere,
    pretend,
    pretend_task,
)
from tests.tiny import image_folder

pytestmark = pytest.mark.process
BOBS = "hf_bobsTokenThatNobodyMaySee0123456789"
EVES = "hf_evesTokenThatNobodyMaySee0123456789"
PLACE = Place("cpu-upgrade", 600)


@pytest.fixture(scope="module", autouse=True)
def bob(hub: HubServer) -> Iterator[None]:
    hub.add_user("bob", BOBS)
    hub.add_user("eve", EVES)
    yield
    for job in [*hub.jobs.of("bob"), *hub.jobs.of("eve")]:
        job.end("CANCELED")


def opened(root: Path, **options: Any) -> Jobs:
    """A server that looks closely."""
    look = partial(HubJobs, live_seconds=0.1, jobs_seconds=0.1)

    def accounts(token_of: Callable[[str], str | None]) -> Accounts:
        return Accounts(token_of, lambda: {"cpu-upgrade": 0.03 * 3600}, make=look)

    return open_jobs(root, SLEEPS, elsewhere=accounts, **options)


def sign_in(jobs: Jobs) -> None:
    for owner, token in (("ada", TOKEN), ("bob", BOBS), ("eve", EVES)):
        jobs.places.tokens.keep(owner, token, time.time() + 1000)


def there(jobs: Jobs, owner: str = "ada") -> Job:
    return jobs.submit(owner, DEMO, place=PLACE)


def says(jobs: Jobs, job: Job, words: str) -> JobView:
    """The view, once it says so."""
    until(lambda: words in repr(view(jobs, job)), 120, jobs)
    return view(jobs, job)


def test_several_at_once_of_two_owners_beside_the_queue(
    hub: HubServer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, WAITS)
    jobs = opened(root)
    sign_in(jobs)
    here = jobs.submit("ada", DEMO)
    with monkeypatch.context() as chance:  # one id in 64 begins so
        chance.setattr("memshield.jobs.service.secrets.token_urlsafe", lambda _: "-" + "a" * 21)
        dashed = there(jobs)
    runs = [dashed, there(jobs), there(jobs, "bob")]
    for job in runs:
        shown = says(jobs, job, "Training, step 3 of 10")
        assert shown.elsewhere is not None
        assert (shown.elsewhere.hardware, shown.elsewhere.most) == ("cpu-upgrade", 18.0)
        assert re.search(r"/jobs/(ada|bob)/\w+$", shown.elsewhere.url)
        assert "submit --config" in shown.command
    assert view(jobs, here).training.state in ("preparing", "running")
    assert [len(hub.jobs.of(owner)) for owner in ("ada", "bob")] == [2, 1]
    jobs.stop("ada", here.id)
    # Stopped, it has cost something, and goes on from the checkpoint that it saved there.
    jobs.stop("ada", runs[0].id)
    until(lambda: ended(jobs, runs[0]), 120, jobs)
    shown = view(jobs, runs[0])
    assert shown.training.state == "stopped"
    assert shown.elsewhere is not None
    assert shown.elsewhere.checkpoint == 3
    assert shown.elsewhere.dollars > 0
    assert not ended(jobs, runs[1])
    pretend(monkeypatch, ENDS)
    jobs.resume("ada", runs[0].id)
    until(lambda: ended(jobs, runs[0]), 120, jobs)
    shown = view(jobs, runs[0])
    assert shown.training.state == "done"
    run = jobs.folders.run(jobs.get("ada", runs[0].id))
    assert (run.path / "config.yaml").is_file()
    assert run.checkpoints() == []  # that one stays there
    assert len(hub.jobs.of("ada")) == 3
    # Deleted here, it is deleted there.
    bucket = hub.buckets.get("ada/memshield-runs")
    place = task_of(jobs, runs[0]).work.place
    assert bucket is not None
    assert place is not None
    assert bucket.files(place.run)
    jobs.delete("ada", runs[0].id)
    assert not bucket.files(place.run)
    jobs.close()
    assert_nowhere(hub)
    assert_nowhere(hub, BOBS)
    assert not any(
        token.encode() in path.read_bytes()
        for token in (TOKEN, BOBS) for path in root.rglob("*") if path.is_file()
    )  # fmt: skip


def test_the_next_server_follows_them_once_their_owner_signs_in(
    hub: HubServer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, WAITS)
    first = opened(root)
    sign_in(first)
    job = there(first)
    says(first, job, "Training, step 3 of 10")
    first.close()
    second = opened(root)
    second.scheduler.step()
    shown = view(second, job)
    assert shown.training.words == "Training, step 3 of 10"
    assert shown.elsewhere is not None
    assert "Sign in for Jobs" in shown.elsewhere.remedy
    with pytest.raises(UserError, match="is running"):
        second.delete("ada", job.id)
    hub.jobs.of("ada")[0].end("ERROR", "Node was evicted")
    sign_in(second)
    until(lambda: ended(second, job), 120, second)
    shown = view(second, job)
    assert shown.training.state == "died"
    assert "Node was evicted" in str(shown.training.reason)
    assert "Resume continues" not in str(shown.training.reason)  # nothing was saved
    second.close()


def test_a_store_that_is_lost_finds_them_by_their_label(
    hub: HubServer, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, WAITS)
    first = opened(root)
    sign_in(first)
    lost = there(first, "eve")
    says(first, lost, "Training, step 3 of 10")
    first.close()
    second = opened(tmp_path / "other")
    sign_in(second)
    assert second.places.adopt("eve") == 1
    assert second.places.adopt("eve") == 0
    (job,) = second.list("eve")
    says(second, job, "Training, step 3 of 10")
    second.stop("eve", job.id)
    until(lambda: ended(second, job), 120, second)
    pretend(monkeypatch, ENDS)
    second.resume("eve", job.id)
    until(lambda: ended(second, job), 120, second)
    assert view(second, job).training.state == "done"
    assert len(hub.jobs.of("eve")) == 2
    # Of one whose folder in the bucket is gone nothing can come: Stop cancels it.
    pretend(monkeypatch, WAITS)
    orphan = there(second, "eve")
    says(second, orphan, "Training, step 3 of 10")
    bucket, place = hub.buckets.get("eve/memshield-runs"), task_of(second, orphan).work.place
    second.close()
    assert bucket is not None
    assert place is not None
    bucket.path(f"{place.run}/request.json").unlink()
    third = opened(tmp_path / "third")
    sign_in(third)
    assert third.places.adopt("eve") == 2
    job, _ = third.list("eve")
    shown = says(third, job, "its folder in the bucket is gone")
    assert shown.elsewhere is not None
    assert shown.elsewhere.orphan
    third.stop("eve", job.id)
    until(lambda: ended(third, job), 120, third)
    assert hub.jobs.of("eve")[0].stage == "CANCELED"
    third.close()


def test_what_the_hub_refuses_is_said_and_can_be_tried_again(
    hub: HubServer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, ENDS)
    jobs = opened(root)
    job = there(jobs)
    jobs.scheduler.step()
    assert view(jobs, job).training.state == "needs_sign_in"
    hub.jobs.without_credit.add("ada")
    sign_in(jobs)
    shown = says(jobs, job, "no credit for Jobs")
    assert shown.training.state == "failed"
    assert "billing settings" in str(shown.training.reason)
    assert "resume" in shown.actions
    hub.jobs.without_credit.clear()
    jobs.resume("ada", job.id)
    until(lambda: ended(jobs, job), 120, jobs)
    assert view(jobs, job).training.state == "done"
    # Stopped while it waits for hardware, it has failed at nothing.
    hub.jobs.full.add("cpu-upgrade")
    waits = there(jobs)
    says(jobs, waits, "Waiting for cpu-upgrade")
    jobs.stop("ada", waits.id)
    until(lambda: ended(jobs, waits), 120, jobs)
    assert view(jobs, waits).training.state == "stopped"
    jobs.close()


def test_a_run_is_audited_where_it_was_trained(
    hub: HubServer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, TRAINED)
    jobs, known = opened(root), len(hub.jobs.of("ada"))
    sign_in(jobs)
    pictures = image_folder(jobs.folders.uploads("ada") / "mine", 4)
    values = {**DEMO, "dataset_name": None, "train_data_dir": str(pictures)}
    job = jobs.submit("ada", values, place=PLACE)
    until(lambda: ended(jobs, job), 120, jobs)
    run, bucket = jobs.folders.run(job), hub.buckets.get("ada/memshield-runs")
    place = task_of(jobs, job).work.place
    assert bucket is not None and place is not None
    sent = f"{place.run}/inputs/train_data_dir"
    assert not bucket.files(sent)  # deleted once the run was here
    StatusFile.amend(run, "done", "noted here", None)
    names = sorted(file.name for file in pictures.iterdir())
    reads = f"assert sorted(p.name for p in Path('inputs/train_data_dir').iterdir()) == {names}\n"
    pretend_task(monkeypatch, AUDITS + reads + "import time; time.sleep(2)")

    jobs.audit("ada", job.id, num_images=40, there=True)
    command = view(jobs, job).command
    assert command.startswith(f"python -m memshield audit {place.run} --hardware cpu-upgrade")
    shown = says(jobs, job, "auditing=TaskProgress(state='running'")
    assert shown.training.state == "done"
    until(lambda: ended(jobs, job), 120, jobs)
    shown = view(jobs, job)
    assert shown.auditing.state == "done", shown.auditing
    assert (run.audit_of(None) / "report.json").is_file()
    assert "No copies --num_images 40" in jobs.log("ada", job.id)
    assert not bucket.files(sent)
    # It brings nothing but the audit: the run here may have been changed.
    assert run.read_status()["reason"] == "noted here"

    pretend_task(monkeypatch, "import sys; print('no room for pictures'); sys.exit(2)")
    jobs.audit("ada", job.id, there=True)
    until(lambda: ended(jobs, job), 120, jobs)
    shown = view(jobs, job)
    assert "Auditing failed" in str(shown.auditing.reason)
    assert "no room for pictures" in shown.auditing.last_lines
    assert shown.training.state == "done"
    assert not bucket.files(sent)  # also where it failed

    # What is to go on needs them.
    StatusFile.amend(run, "stopped", "to go on", None)
    jobs.audit("ada", job.id, there=True)
    until(lambda: ended(jobs, job), 120, jobs)
    assert bucket.files(sent)

    (run.model / "weights").write_bytes(b"another")
    jobs.audit("ada", job.id, there=True)
    until(lambda: ended(jobs, job), 120, jobs)
    assert "a round was chosen here" in str(view(jobs, job).auditing.reason)
    assert len(hub.jobs.of("ada")) == known + 4
    here = jobs.submit("ada", DEMO)
    jobs.stop("ada", here.id)
    (jobs.folders.run(here).model).mkdir(parents=True)
    with pytest.raises(UserError, match="it was trained on this machine"):
        jobs.audit("ada", here.id, there=True)
    jobs.close()
