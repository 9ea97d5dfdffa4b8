"""Titles of jobs: what they are called at first, who may change them, and older stores."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from memshield.config.file import make_config
from memshield.errors import UserError
from memshield.jobs.folders import Folders
from memshield.jobs.records import Job, Work
from memshield.jobs.service import Jobs
from memshield.jobs.store import Store
from memshield.jobs.titles import MOST, default_title
from tests.jobs.children import DEMO, open_jobs


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    """Nothing of it is started."""
    return open_jobs(tmp_path_factory.mktemp("data"))


def test_a_title_is_kept_and_only_its_owner_may_change_it(jobs: Jobs) -> None:
    job = jobs.submit("ada", DEMO)
    assert job.title == "new model on handwritten digits"
    assert jobs.titles.change("ada", job.id, "  My first\n run ") == "My first run"
    assert jobs.get("ada", job.id).title == jobs.view("ada", job.id).title == "My first run"
    with pytest.raises(UserError, match="there is no job"):
        jobs.titles.change("bob", job.id, "Bob's")
    for bad in ("", " \n ", None, ["x"], "x" * (MOST + 1), "a\x00b"):
        with pytest.raises(UserError, match="Name"):
            jobs.titles.change("ada", job.id, bad)
    assert jobs.get("ada", job.id).title == "My first run"
    # Its folder stays where it is, and what is trained from it is called after it.
    assert jobs.folders.run(jobs.get("ada", job.id)).path == jobs.folders.run(job).path
    assert jobs.submit_changed("ada", job.id, {"seed": 7}).title == "My first run"


@pytest.mark.parametrize(
    ("values", "title"),
    [
        ({"dataset_name": "ada/cats", "pretrained_model_name_or_path": "lab/sd"}, "sd on cats"),
        ({"train_data_dir": "/home/ada/dogs"}, "new model on dogs"),
        ({"train_data_dir": "UPLOADS/0f3a"}, "new model on own pictures"),
        ({"dataset_name": "ada/" + "x" * 90}, ("new model on " + "x" * 90)[:MOST]),
    ],
)
def test_a_title_tells_model_and_pictures(
    values: dict[str, str], title: str, tmp_path: Path
) -> None:
    folders = Folders(tmp_path)
    uploads = str(folders.uploads("ada"))
    given = {name: value.replace("UPLOADS", uploads) for name, value in values.items()}
    if "pretrained_model_name_or_path" not in given:
        given["model_config_name_or_path"] = "configs/models/digits-unet.json"
    assert default_title(make_config({**given, "output_dir": "x"}), "ada", folders) == title


def test_a_store_without_titles_and_places_opens(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite3"
    store = Store(path)
    store.add(Job("a" * 22, "ada", "digits", 1.0, ()), Work("train", ("true",)), 9)
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE jobs DROP COLUMN title")
        db.execute("ALTER TABLE tasks DROP COLUMN place")
    for _ in range(2):
        store = Store(path)
        (job,) = store.jobs_of("ada")
        assert job.title == "digits"
        assert job.tasks[0].work.place is None
        store.close()
    store = Store(path)
    store.rename(job, "Mine")
    assert store.jobs_of("ada")[0].title == "Mine"
    store.close()
