"""Whose is what: ids, settings and files of several people on one server."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from memshield.errors import UserError
from memshield.jobs.commands import ROOT
from memshield.jobs.records import LOCAL
from memshield.jobs.storage import Kept
from memshield.sampling.request import ImageRequest
from tests.jobs.children import DEMO, DONE, RUNS, begun, ended, open_jobs, task_of, until, view
from tests.refusals import refusal_of

MODEL = ROOT / "configs" / "models" / "digits-unet.json"


# Ids


@pytest.mark.process
def test_another_owners_job_is_as_good_as_none(root: Path) -> None:
    jobs = open_jobs(root, DONE)
    job = jobs.submit("ada", DEMO)
    until(lambda: ended(jobs, job), jobs=jobs)
    asks: list[Any] = [
        jobs.get, jobs.view, jobs.log, jobs.config, jobs.stop, jobs.resume, jobs.audit,
        jobs.publish, jobs.delete,
    ]  # fmt: skip
    for ask in asks:
        for id in (job.id, "x" * 22, "", "../../etc", "a\0b", 7, None, ["a"], {"a": 1}):
            with pytest.raises(UserError) as refused:
                ask("bob", id)
            assert str(refused.value).startswith(f"job: there is no job {id!r}")
    assert jobs.list("bob") == []
    assert jobs.list(LOCAL) == []
    assert [found.id for found in jobs.list("ada")] == [job.id]
    with pytest.raises(UserError, match="there is no job"):
        jobs.audit("ada", job.id, beside=[jobs.submit("bob", DEMO).id])
    assert jobs.audit("ada", job.id, beside=[jobs.submit("ada", DEMO).id])
    jobs.close()


def test_ids_cannot_be_guessed(root: Path) -> None:
    jobs = open_jobs(root)
    ids = {jobs.submit("ada", DEMO).id for _ in range(5)}
    assert len(ids) == 5
    assert all(len(id) >= 22 for id in ids)
    assert (root / "jobs").stat().st_mode & 0o077 == 0
    jobs.close()


@pytest.mark.parametrize("owner", ["..", "a/b", "_local", ".hidden", "a\n", "x" * 200])
def test_an_owner_is_a_user_name(root: Path, owner: str) -> None:
    jobs = open_jobs(root)
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        jobs.submit(owner, DEMO)
    assert not (root / "jobs").exists()
    jobs.close()


# Settings


def refusal(jobs: Any, owner: str = "ada", **changes: Any) -> str:
    values = {name: value for name, value in {**DEMO, **changes}.items() if value is not None}
    return refusal_of(jobs.submit, owner, values)


def test_bad_settings_are_refused_before_anything_is_stored(root: Path) -> None:
    jobs = open_jobs(root)
    said = refusal(jobs, num_shards=0, learning_rte=1)
    assert "learning_rte: unknown setting" in said
    assert "num_shards: must be at least 1, is 0" in refusal(jobs, num_shards=0)
    assert jobs.list("ada") == []
    assert not (root / "jobs").exists()
    jobs.close()


def test_the_server_chooses_the_run_folder(root: Path) -> None:
    jobs = open_jobs(root)
    job = jobs.submit("ada", {**DEMO, "output_dir": "/etc"}, name="My *first* run!")
    assert jobs.folders.run(job).path == root / "jobs" / job.id / "my-first-run"
    assert jobs.config("ada", job.id).output_dir == str(jobs.folders.run(job).path)
    jobs.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset_name": "/etc"},
        {"dataset_name": "tests"},
        {"dataset_name": "../secrets"},
        {"dataset_name": "~/pictures"},
        {"dataset_name": "a/b/c"},
        {"dataset_name": "file:///etc/passwd"},
        {"dataset_name": None, "train_data_dir": "/srv/pictures"},
        {"dataset_name": None, "train_data_dir": "lab/pictures"},
        {"model_config_name_or_path": "/etc/passwd"},
        {"model_config_name_or_path": "configs/models/../demo.yaml"},
        {"model_config_name_or_path": "configs/models"},
        {"model_config_name_or_path": None, "pretrained_model_name_or_path": "memshield/jobs"},
        {"pretrained_vae_model_name_or_path": str(MODEL)},
        {"dataset_name": "x\0y"},
    ],
)
def test_the_servers_files_are_closed_to_visitors(root: Path, changes: dict[str, Any]) -> None:
    jobs = open_jobs(root)
    assert "neither on the Hub nor among what you uploaded" in refusal(jobs, **changes)
    assert jobs.list("ada") == []
    jobs.close()


@pytest.mark.process
def test_what_is_open_to_visitors(root: Path) -> None:
    jobs = open_jobs(root)
    pictures = jobs.folders.uploads("ada") / "pictures"
    pictures.mkdir(parents=True)
    (pictures / "a.png").touch()
    for changes in (
        {"dataset_name": "lab/pictures"},
        {"dataset_name": "mnist"},
        {"model_config_name_or_path": str(MODEL)},
        {"model_config_name_or_path": "lab/unet"},
        {"dataset_name": str(pictures)},
    ):
        jobs.submit("ada", {**DEMO, **changes})
    uploaded: dict[str, Any] = {"dataset_name": None, "train_data_dir": str(pictures)}
    job = jobs.submit("ada", {**DEMO, **uploaded})
    assert job.name == "pictures"
    assert "neither on the Hub" in refusal(jobs, "bob", **uploaded)
    jobs.submit(LOCAL, {**DEMO, **uploaded})
    # A link leads out of the uploads, whenever it was put there.
    (pictures / "b.png").symlink_to("/etc/passwd")
    assert "neither on the Hub" in refusal(jobs, **uploaded)
    until(lambda: ended(jobs, job), jobs=jobs)
    assert "neither on the Hub" in str(view(jobs, job).training.reason)
    jobs.close()


@pytest.mark.process
def test_publishing_needs_no_picture_that_was_uploaded(root: Path) -> None:
    jobs = open_jobs(root, DONE)
    pictures = jobs.folders.uploads("ada") / "pictures"
    pictures.mkdir(parents=True)
    (pictures / "a.png").write_bytes(b"")
    values = {**DEMO, "dataset_name": None, "train_data_dir": str(pictures)}
    job = jobs.submit("ada", {**values, "hub_model_id": "ada/digits"})
    until(lambda: ended(jobs, job), jobs=jobs)
    jobs.owner_storage.delete("ada")
    jobs.tokens.keep("ada", "hf_" + "x" * 34, time.time() + 1000)
    jobs.publish("ada", job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    assert task_of(jobs, job).problem is None
    assert task_of(jobs, job).started is not None
    # What would train on them, or look at them, needs them.
    jobs.audit("ada", job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    assert "what you uploaded for it is not there" in str(view(jobs, job).auditing.reason)
    # A folder that is nobody's is refused whatever is done with it.
    settings = jobs.folders.settings(job.id)
    settings.write_text(settings.read_text().replace(str(pictures), "/etc"))
    jobs.publish("ada", job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    assert "neither on the Hub" in str(view(jobs, job).publishing.reason)
    jobs.close()


def test_trackers_of_the_operators_account_are_closed_to_visitors(root: Path) -> None:
    jobs = open_jobs(root)
    assert "would report to the account of this server" in refusal(jobs, report_to="wandb")
    jobs.submit("ada", {**DEMO, "report_to": "tensorboard"})
    jobs.submit(LOCAL, {**DEMO, "report_to": "wandb"})
    jobs.close()


def test_the_local_users_paths_do_not_depend_on_the_servers_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "pictures").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    jobs = open_jobs(root)
    job = jobs.submit(LOCAL, {**DEMO, "dataset_name": "pictures"})
    assert jobs.config(LOCAL, job.id).dataset_name == str(tmp_path / "here" / "pictures")
    jobs.close()


# Files


@pytest.mark.process
def test_deleting_takes_the_files_and_nothing_else(root: Path, tmp_path: Path) -> None:
    jobs = open_jobs(root, DONE)
    job, other = jobs.submit("ada", DEMO), jobs.submit("ada", DEMO)
    until(lambda: ended(jobs, job) and ended(jobs, other), jobs=jobs)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (jobs.folders.run(job).path / "link").symlink_to(outside)
    jobs.delete("ada", job.id)
    with pytest.raises(UserError, match="there is no job"):
        jobs.get("ada", job.id)
    jobs.scheduler.step()
    assert not jobs.folders.job(job.id).exists()
    assert (outside / "kept").exists()
    assert jobs.folders.run(other).path.is_dir()
    # The folder itself may have been replaced by a link.
    os.rename(jobs.folders.job(other.id), tmp_path / "moved")
    jobs.folders.job(other.id).symlink_to(outside)
    jobs.delete("ada", other.id)
    jobs.scheduler.step()
    assert (outside / "kept").exists()
    jobs.close()


@pytest.mark.process
def test_what_runs_is_not_deleted_and_what_waits_is(root: Path) -> None:
    jobs = open_jobs(root, RUNS.format(body="time.sleep(600)"))
    job, waiting = jobs.submit("ada", DEMO), jobs.submit("ada", DEMO)
    until(lambda: begun(jobs, job), jobs=jobs)
    with pytest.raises(UserError, match="it is running"):
        jobs.delete("ada", job.id)
    assert jobs.folders.run(job).path.is_dir()
    jobs.delete("ada", waiting.id)
    jobs.scheduler.step()
    assert [found.id for found in jobs.list("ada")] == [job.id]
    jobs.close()


@pytest.mark.process
def test_a_deletion_that_was_cut_off_is_ended_by_the_next_server(root: Path) -> None:
    jobs = open_jobs(root)
    job = jobs.submit("ada", DEMO)
    jobs.delete("ada", job.id)
    assert jobs.folders.job(job.id).exists()
    jobs.close()
    jobs = open_jobs(root)
    jobs.scheduler.step()
    assert not jobs.folders.job(job.id).exists()
    jobs.close()


@pytest.mark.process
def test_files_are_those_of_the_run_only(root: Path) -> None:
    jobs = open_jobs(root, DONE)
    job = jobs.submit("ada", DEMO)
    until(lambda: ended(jobs, job), jobs=jobs)
    run = jobs.folders.run(job).path
    (run / "samples").mkdir()
    (run / "samples" / "round-1.png").touch()
    (run / "link").symlink_to("/etc/passwd")
    (run / ".lock").touch()
    assert view(jobs, job).files == ("config.yaml", "samples/round-1.png")
    jobs.close()


@pytest.mark.process
def test_what_is_kept_belongs_to_its_owner_and_can_be_deleted(root: Path) -> None:
    jobs = open_jobs(root)
    elsewhere = root / "elsewhere"
    elsewhere.mkdir(parents=True)
    (elsewhere / "large").write_bytes(b"x" * 1000)
    for owner in ("ada", "bob"):
        for folder in (jobs.folders.uploads(owner), jobs.folders.cache(owner)):
            folder.mkdir(parents=True)
            (folder / "a").write_bytes(b"x" * 7)
    (jobs.folders.cache("ada") / "link").symlink_to(elsewhere)
    assert jobs.owner_storage.of("ada").uploads == 7
    assert jobs.owner_storage.of("ada").cache < 1000
    job = jobs.submit("ada", DEMO)
    with pytest.raises(UserError, match="runs or waits"):
        jobs.owner_storage.delete("ada")
    assert jobs.owner_storage.of("ada").uploads == 7
    jobs.stop("ada", job.id)
    # Beside drawn pictures lie training pictures.
    drawn = jobs.requests.sample("ada", "ada/digits", "0" * 40, ImageRequest())
    jobs.requests.stop("ada", "sample")
    jobs.owner_storage.delete("ada")
    assert jobs.requests.view("ada", "sample") is None
    jobs.scheduler.step()
    assert not jobs.folders.job(drawn).exists()
    assert jobs.owner_storage.of("ada") == Kept(0, 0)
    assert jobs.owner_storage.of("bob") == Kept(7, 7)
    assert (elsewhere / "large").exists()
    assert [one.id for one in jobs.list("ada")] == [job.id]
    jobs.close()


def test_what_is_kept_is_counted_while_it_changes(root: Path) -> None:
    jobs = open_jobs(root)
    cache = jobs.folders.cache("ada")
    cache.mkdir(parents=True)
    done = threading.Event()

    def fetch() -> None:
        while not done.is_set():
            for number in range(50):
                (cache / f"{number}.incomplete").touch()
            for number in range(50):
                (cache / f"{number}.incomplete").rename(cache / str(number))

    fetching = threading.Thread(target=fetch)
    fetching.start()
    try:
        for _ in range(2000):
            assert jobs.owner_storage.of("ada") == Kept(0, 0)
    finally:
        done.set()
        fetching.join()
    jobs.close()
