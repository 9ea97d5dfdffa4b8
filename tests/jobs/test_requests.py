"""What an owner lets the server do beside the runs: one request of a kind, and nobody else's."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from memshield.errors import UserError
from memshield.jobs.records import LOCAL
from memshield.jobs.requests import PLAN
from memshield.jobs.service import Jobs
from memshield.sampling.request import ImageRequest, parse_arguments
from tests.jobs.children import DEMO
from tests.ui.servers import until


@pytest.fixture
def jobs(root: Path) -> Iterator[Jobs]:
    found = Jobs(root, ["cpu"])
    yield found
    found.close()


@pytest.mark.slow
@pytest.mark.process
def test_a_training_is_measured_and_does_not_become_a_run(jobs: Jobs) -> None:
    assert jobs.requests.view(LOCAL, "measure") is None
    id = jobs.requests.measure(LOCAL, DEMO)
    waiting = jobs.requests.view(LOCAL, "measure")
    assert waiting is not None and waiting.busy and waiting.position == 1
    with pytest.raises(UserError, match="one of yours waits already"):
        jobs.requests.measure(LOCAL, DEMO)
    jobs.scheduler.run()

    def done() -> bool:
        request = jobs.requests.view(LOCAL, "measure")
        assert request is not None
        assert request.progress.state not in ("failed", "died"), request.progress
        return request.progress.state == "done"

    until(done, 120)
    request = jobs.requests.view(LOCAL, "measure")
    assert request is not None and not request.busy
    assert json.loads((request.results / PLAN).read_text())["measured"]["total_s"] > 0
    assert request.command.startswith("python -m memshield plan --config ")

    # It is no run: nobody finds it among these, not even by its id.
    assert jobs.list(LOCAL) == []
    with pytest.raises(UserError, match="there is no job"):
        jobs.view(LOCAL, id)
    # The next one takes its place.
    jobs.scheduler.close()
    jobs.requests.measure(LOCAL, DEMO)
    jobs.scheduler.step()
    assert not request.results.exists()


def test_a_request_is_its_owners(jobs: Jobs) -> None:
    jobs.requests.measure("ada", DEMO)
    assert jobs.requests.view("bob", "measure") is None
    with pytest.raises(UserError, match="nothing of it runs"):
        jobs.requests.stop("bob", "measure")
    jobs.requests.stop("ada", "measure")
    stopped = jobs.requests.view("ada", "measure")
    assert stopped is not None and stopped.progress.words == "Taken out of the queue"


def test_what_a_run_may_not_have_a_request_may_not_either(jobs: Jobs, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither on the Hub nor among what you uploaded"):
        jobs.requests.measure("ada", {**DEMO, "dataset_name": str(tmp_path)})
    with pytest.raises(UserError, match="num_train_epochs"):
        jobs.requests.measure("ada", {**DEMO, "num_train_epochs": -1})
    assert jobs.requests.view("ada", "measure") is None
    assert list((jobs.folders.root / "jobs").glob("*")) == []


COMMIT = "0" * 40


def test_pictures_are_asked_for_in_the_words_of_the_command(jobs: Jobs) -> None:
    pictures = ImageRequest(("--output_dir=/etc", "a cat; rm -rf /"), 2, 30, 7)
    jobs.requests.sample(LOCAL, "ada/digits", COMMIT, pictures)
    request = jobs.requests.view(LOCAL, "sample")
    assert request is not None and request.busy
    command = shlex.split(request.command)
    assert command[:5] == ["python", "-m", "memshield", "sample", "ada/digits"]
    arguments = parse_arguments(command[4:])
    assert arguments == request.arguments
    assert (arguments.target, arguments.revision, arguments.request) == (
        "ada/digits",
        COMMIT,
        pictures,
    )
    assert arguments.output_dir == request.results
    assert arguments.against is None
    # One that was queued before requests were kept as data is read from its command.
    jobs.folders.request(request.id).unlink()
    older = jobs.requests.view(LOCAL, "sample")
    assert older is not None and older.arguments == arguments
    # It is no run, and one at a time.
    assert jobs.list(LOCAL) == []
    with pytest.raises(UserError, match="one of yours waits already"):
        jobs.requests.sample(LOCAL, "ada/digits", COMMIT, pictures)
    # Beside it another kind may wait.
    jobs.requests.measure(LOCAL, DEMO)


def test_asked_for_at_once_there_is_one(jobs: Jobs) -> None:
    before, together = sys.getswitchinterval(), threading.Barrier(4)
    answers: list[str] = []

    def ask(owner: str) -> None:
        together.wait()
        try:
            jobs.requests.sample(owner, "ada/digits", COMMIT, ImageRequest())
            answers.append("")
        except UserError as error:
            answers.append(error.problem)

    sys.setswitchinterval(1e-5)
    try:
        for number in range(30):
            answers.clear()
            asking = [threading.Thread(target=ask, args=(f"ada{number}",)) for _ in range(4)]
            for one in asking:
                one.start()
            for one in asking:
                one.join()
            assert sorted(answers) == ["", *["one of yours waits already"] * 3]
            jobs.requests.stop(f"ada{number}", "sample")
            with pytest.raises(UserError, match="nothing of it runs or waits"):
                jobs.requests.stop(f"ada{number}", "sample")
    finally:
        sys.setswitchinterval(before)


def test_pictures_are_compared_with_runs_of_their_owner_only(jobs: Jobs) -> None:
    job = jobs.submit("ada", DEMO)
    run = jobs.folders.run(job)
    run.path.mkdir()
    run.config.write_text(jobs.folders.settings(job.id).read_text())
    for id in (job.id, "x" * 22, "../../etc"):
        with pytest.raises(UserError, match="there is no job"):
            jobs.requests.sample("bob", "ada/digits", COMMIT, ImageRequest(), against=id)
    assert jobs.requests.view("bob", "sample") is None
    jobs.requests.sample("ada", "ada/digits", COMMIT, ImageRequest(), against=job.id)
    request = jobs.requests.view("ada", "sample")
    assert request is not None
    assert request.arguments is not None and request.arguments.against == run.path
    # Nor with one whose settings reach for what is not the owner's, though it was queued before.
    jobs.stop("ada", job.id)
    run.config.write_text(run.config.read_text().replace("sklearn:digits", str(run.path)))
    with pytest.raises(UserError, match="neither on the Hub nor among what you uploaded"):
        jobs.requests.sample("ada", "ada/digits", COMMIT, ImageRequest(), against=job.id)
    jobs.scheduler.step()
    ended = jobs.requests.view("ada", "sample")
    assert ended is not None and ended.progress.state == "failed"
    assert "neither on the Hub nor among what you uploaded" in str(ended.progress.reason)
    assert not ended.results.exists()


def test_pictures_are_their_owners(jobs: Jobs) -> None:
    jobs.requests.sample("ada", "ada/digits", COMMIT, ImageRequest(), needs_token=True)
    assert jobs.requests.view("bob", "sample") is None
    with pytest.raises(UserError, match="nothing of it runs"):
        jobs.requests.stop("bob", "sample")
    waiting = jobs.requests.view("ada", "sample")
    assert waiting is not None and waiting.progress.state == "needs_sign_in"
    for name in ("../x", "/etc/passwd", "", "--help"):
        with pytest.raises(UserError, match="is no id on the Hub"):
            jobs.requests.sample("bob", name, COMMIT, ImageRequest())
    assert jobs.requests.view("bob", "sample") is None
