"""What an owner lets the server do beside the runs: one errand of a kind, and nobody else's."""

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
from memshield.sampling.arguments import asked_of
from memshield.sampling.request import Wish
from tests.jobs.children import DEMO
from tests.ui.pages import until


@pytest.fixture
def jobs(root: Path) -> Iterator[Jobs]:
    found = Jobs(root, ["cpu"])
    yield found
    found.close()


@pytest.mark.process
def test_a_training_is_measured_and_does_not_become_a_run(jobs: Jobs) -> None:
    assert jobs.errands.view(LOCAL, "measure") is None
    id = jobs.errands.measure(LOCAL, DEMO)
    waiting = jobs.errands.view(LOCAL, "measure")
    assert waiting is not None and waiting.busy and waiting.position == 1
    with pytest.raises(UserError, match="one of yours waits already"):
        jobs.errands.measure(LOCAL, DEMO)
    jobs.scheduler.run()

    def done() -> bool:
        errand = jobs.errands.view(LOCAL, "measure")
        assert errand is not None
        assert errand.progress.state not in ("failed", "died"), errand.progress
        return errand.progress.state == "done"

    until(done, 120)
    errand = jobs.errands.view(LOCAL, "measure")
    assert errand is not None and not errand.busy
    assert json.loads((errand.results / PLAN).read_text())["measured"]["total_s"] > 0
    assert errand.command.startswith("python -m memshield plan --config ")

    # It is no run: nobody finds it among these, not even by its id.
    assert jobs.list(LOCAL) == []
    with pytest.raises(UserError, match="there is no job"):
        jobs.view(LOCAL, id)
    # The next one takes its place.
    jobs.scheduler.close()
    jobs.errands.measure(LOCAL, DEMO)
    jobs.scheduler.step()
    assert not errand.results.exists()


def test_an_errand_is_its_owners(jobs: Jobs) -> None:
    jobs.errands.measure("ada", DEMO)
    assert jobs.errands.view("bob", "measure") is None
    with pytest.raises(UserError, match="nothing of it runs"):
        jobs.errands.stop("bob", "measure")
    jobs.errands.stop("ada", "measure")
    stopped = jobs.errands.view("ada", "measure")
    assert stopped is not None and stopped.progress.words == "Taken out of the queue"


def test_what_a_run_may_not_have_an_errand_may_not_either(jobs: Jobs, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither on the Hub nor among what you uploaded"):
        jobs.errands.measure("ada", {**DEMO, "dataset_name": str(tmp_path)})
    with pytest.raises(UserError, match="num_train_epochs"):
        jobs.errands.measure("ada", {**DEMO, "num_train_epochs": -1})
    assert jobs.errands.view("ada", "measure") is None
    assert list((jobs.folders.root / "jobs").glob("*")) == []


COMMIT = "0" * 40


def test_pictures_are_asked_for_in_the_words_of_the_command(jobs: Jobs) -> None:
    wish = Wish(("--output_dir=/etc", "a cat; rm -rf /"), 2, 30, 7)
    jobs.errands.sample(LOCAL, "ada/digits", COMMIT, wish)
    errand = jobs.errands.view(LOCAL, "sample")
    assert errand is not None and errand.busy
    command = shlex.split(errand.command)
    assert command[:5] == ["python", "-m", "memshield", "sample", "ada/digits"]
    asked = asked_of(command[4:])
    assert asked == errand.asked
    assert (asked.target, asked.revision, asked.wish) == ("ada/digits", COMMIT, wish)
    assert asked.output_dir == errand.results
    assert asked.against is None
    # One that was queued before requests were kept as data is read from its command.
    jobs.folders.request(errand.id).unlink()
    older = jobs.errands.view(LOCAL, "sample")
    assert older is not None and older.asked == asked
    # It is no run, and one at a time.
    assert jobs.list(LOCAL) == []
    with pytest.raises(UserError, match="one of yours waits already"):
        jobs.errands.sample(LOCAL, "ada/digits", COMMIT, wish)
    # Beside it another kind may wait.
    jobs.errands.measure(LOCAL, DEMO)


def test_asked_for_at_once_there_is_one(jobs: Jobs) -> None:
    before, together = sys.getswitchinterval(), threading.Barrier(4)
    answers: list[str] = []

    def ask(owner: str) -> None:
        together.wait()
        try:
            jobs.errands.sample(owner, "ada/digits", COMMIT, Wish())
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
            jobs.errands.stop(f"ada{number}", "sample")
            with pytest.raises(UserError, match="nothing of it runs or waits"):
                jobs.errands.stop(f"ada{number}", "sample")
    finally:
        sys.setswitchinterval(before)


def test_pictures_are_compared_with_runs_of_their_owner_only(jobs: Jobs) -> None:
    job = jobs.submit("ada", DEMO)
    run = jobs.folders.run(job)
    run.path.mkdir()
    run.config.write_text(jobs.folders.settings(job.id).read_text())
    for id in (job.id, "x" * 22, "../../etc"):
        with pytest.raises(UserError, match="there is no job"):
            jobs.errands.sample("bob", "ada/digits", COMMIT, Wish(), against=id)
    assert jobs.errands.view("bob", "sample") is None
    jobs.errands.sample("ada", "ada/digits", COMMIT, Wish(), against=job.id)
    errand = jobs.errands.view("ada", "sample")
    assert errand is not None
    assert errand.asked is not None and errand.asked.against == run.path
    # Nor with one whose settings reach for what is not the owner's.
    jobs.errands.stop("ada", "sample")
    run.config.write_text(run.config.read_text().replace("sklearn:digits", str(run.path)))
    with pytest.raises(UserError, match="neither on the Hub nor among what you uploaded"):
        jobs.errands.sample("ada", "ada/digits", COMMIT, Wish(), against=job.id)


def test_pictures_are_their_owners(jobs: Jobs) -> None:
    jobs.errands.sample("ada", "ada/digits", COMMIT, Wish(), needs_token=True)
    assert jobs.errands.view("bob", "sample") is None
    with pytest.raises(UserError, match="nothing of it runs"):
        jobs.errands.stop("bob", "sample")
    waiting = jobs.errands.view("ada", "sample")
    assert waiting is not None and waiting.progress.state == "needs_sign_in"
    for name in ("../x", "/etc/passwd", "", "--help"):
        with pytest.raises(UserError, match="is no id on the Hub"):
            jobs.errands.sample("bob", name, COMMIT, Wish())
    assert jobs.errands.view("bob", "sample") is None
