"""Audits of models that are no run's: queued, carried out, and nobody else's."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memshield.audit.report import Report
from memshield.errors import UserError
from memshield.jobs.model_audit_request import read_arguments
from memshield.jobs.model_audits import ModelAudit
from memshield.jobs.records import LOCAL
from memshield.jobs.service import Jobs
from tests.hub_server import HubServer
from tests.jobs.children import DEMO
from tests.refusals import refusal_of
from tests.tiny import ddpm_pipeline, image_folder
from tests.ui.servers import until

ASKED: dict[str, Any] = {"model": "lab/ddpm", "dataset": "lab/grey", "held_out_share": 40}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    folder = tmp_path_factory.mktemp("hub")
    (folder / "single").mkdir()
    (folder / "single" / "model.ckpt").write_bytes(b"x")
    with HubServer() as hub:
        hub.add_user("lab", "hf_" + "l" * 34)
        hub.add_repo("model", "lab/ddpm", ddpm_pipeline(folder / "ddpm"))
        hub.add_repo("model", "lab/single", folder / "single")
        grey = image_folder(folder / "grey", 170, 8, captions=False, channels=1)
        hub.add_repo("dataset", "lab/grey", grey)
        yield hub


@pytest.fixture
def jobs(root: Path, tmp_path: Path, server: HubServer) -> Iterator[Jobs]:
    environment = server.environ(tmp_path / "home", None)
    found = Jobs(root, ["cpu"], environment={**environment, "OMP_NUM_THREADS": "1"})
    yield found
    found.close()


@pytest.mark.slow
@pytest.mark.process
def test_a_model_of_the_hub_is_audited_with_a_dataset_of_the_hub(jobs: Jobs) -> None:
    id = jobs.model_audits.submit("ada", {**ASKED, "num_images": 10})
    waiting = jobs.model_audits.get("ada", id)
    assert waiting.busy and waiting.position == 1 and waiting.name == "lab/ddpm"
    wrong = jobs.model_audits.submit("ada", {**ASKED, "model": "lab/single"})
    phases: set[str] = set()
    jobs.scheduler.run()

    def ended(id: str) -> ModelAudit | None:
        found = jobs.model_audits.get("ada", id)
        if found.phase is not None:
            phases.add(found.phase.what)
        return None if found.busy else found

    done = until(lambda: ended(id), 120)
    assert done.progress.state == "done", done.progress
    report = Report.read(done.folder / "report.json")
    assert (report.data.training, report.data.held_out) == (102, 68)
    assert report.headline.excess_interval is not None
    assert report.target.name == "lab/ddpm" and report.membership
    assert (done.folder / "report.html").is_file() and (done.folder / "private.json").is_file()
    assert phases, "nothing was told of how far it is"
    words = shlex.split(done.command)
    assert words[:4] == ["python", "-m", "memshield", "audit"]
    assert "--model=lab/ddpm" in words and "--held_out=40%" in words
    assert str(jobs.folders.root) not in done.command

    failed = until(lambda: ended(wrong), 120)
    assert failed.progress.state == "failed"
    assert "only pickled weights" in str(failed.progress.reason)
    assert [one.id for one in jobs.model_audits.list("ada")] == [wrong, id]
    jobs.model_audits.delete("ada", id)
    until(lambda: not done.folder.exists())
    assert [one.id for one in jobs.model_audits.list("ada")] == [wrong]


def test_an_audit_is_its_owners_and_no_run(jobs: Jobs) -> None:
    id = jobs.model_audits.submit("ada", ASKED)
    audits = jobs.model_audits
    for ask in (audits.get, audits.log, audits.stop, audits.delete):
        for one in (id, "x" * 22, "", "../../etc", None, 7, ["a"]):
            with pytest.raises(UserError, match="there is no job"):
                ask("bob", one)
    assert audits.list("bob") == [] and audits.list(LOCAL) == []
    # It is no run: nobody finds it among these; and no run is found here.
    assert jobs.list("ada") == []
    with pytest.raises(UserError, match="there is no job"):
        jobs.get("ada", id)
    run = jobs.submit("ada", DEMO).id
    with pytest.raises(UserError, match="there is no job"):
        audits.get("ada", run)
    audits.stop("ada", id)
    assert audits.get("ada", id).progress.words == "Taken out of the queue"
    assert audits.get("ada", id).actions == ("delete",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": ""}, "model: is missing"),
        ({"model": None, "dataset": None}, "dataset: is missing"),
        ({"model": "/etc"}, "model: '/etc' is neither on the Hub nor among what you uploaded"),
        ({"model": "../x"}, "is neither on the Hub nor among what you uploaded"),
        ({"model": "configs/models"}, "is neither on the Hub nor among what you uploaded"),
        ({"base": "~/x"}, "is neither on the Hub"),
        ({"model": "x"}, "is no id on the Hub"),
        ({"model": ["a"]}, "model: is no name"),
        ({"model": "a\0/b"}, "model: is no name"),
        ({"dataset": "/etc"}, "dataset: '/etc' is neither on the Hub"),
        ({"held_out_share": None, "held_out": "/etc"}, "held_out: '/etc' is neither on the Hub"),
        ({"held_out": "lab/other"}, "held_out_share: is given beside"),
        ({"held_out_share": 0}, "must be 1 to 90 percent"),
        ({"held_out_share": "20"}, "must be 1 to 90 percent"),
        ({"weight_name": "../x.safetensors"}, "is no file of weights"),
        ({"weight_name": "x.bin"}, "is no file of weights"),
        ({"prompts": "/etc/passwd"}, "is no kind of prompts"),
        ({"split": "--sscd=/x"}, "is no name"),
        ({"num_images": 3}, "must be from 10"),
        ({"num_images": "many"}, "is no whole number"),
        ({"sscd": "x"}, "is no part of an audit"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_before_anything_is_queued(
    jobs: Jobs, changes: dict[str, Any], words: str
) -> None:
    said = refusal_of(lambda: jobs.model_audits.submit("ada", {**ASKED, **changes}))
    assert words in said
    assert jobs.model_audits.list("ada") == []
    assert list((jobs.folders.root / "jobs").glob("*")) == []


def test_at_home_folders_are_audited_too(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "set").mkdir()
    values = {"model": str(tmp_path / "model"), "dataset": str(tmp_path / "set")}
    id = jobs.model_audits.submit(LOCAL, {**values, "held_out": str(tmp_path / "set")})
    assert jobs.model_audits.get(LOCAL, id).name == "model"
    words = read_arguments(jobs.folders, id).words(tmp_path)
    assert f"--train_data_dir={tmp_path / 'set'}" in words
    assert f"--held_out_data_dir={tmp_path / 'set'}" in words
    said = refusal_of(lambda: jobs.model_audits.submit(LOCAL, {**values, "dataset": "/no/such"}))
    assert "dataset: there is no folder /no/such" in said


def test_an_upload_that_was_deleted_is_refused_when_the_audit_starts(jobs: Jobs) -> None:
    mine = jobs.folders.uploads("ada") / ("a" * 32)
    mine.mkdir(parents=True)
    id = jobs.model_audits.submit("ada", {"model": "lab/ddpm", "dataset": str(mine)})
    with pytest.raises(UserError, match="neither on the Hub nor among what you uploaded"):
        jobs.model_audits.submit("bob", {"model": "lab/ddpm", "dataset": str(mine)})
    mine.rmdir()
    jobs.scheduler.step()
    found = jobs.model_audits.get("ada", id).progress
    assert found.state == "failed" and "is not there any more" in str(found.reason)
