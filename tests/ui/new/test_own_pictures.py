"""From an upload to a training on a Space: whose pictures may be trained on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest

from memshield.errors import UserError
from memshield.ui.new.own_pictures import uploaded
from memshield.ui.new.submission import check_form, submit_form
from memshield.ui.new.uploads.adding import add_files
from memshield.ui.new.uploads.tray import Tray
from memshield.ui.server.server import Server
from tests.ui.new.test_form import at, token_of, values, wrong
from tests.ui.repos import pictures
from tests.ui.servers import end_tasks, until


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Server]:
    made = at(tmp_path, on_space=True)
    yield made
    made.jobs.close()
    end_tasks(tmp_path / "data")


@pytest.fixture
def tray(space: Server, tmp_path: Path) -> Tray:
    """Ada's."""
    files = sorted(pictures(tmp_path / "in", range(60)).iterdir())
    home = space.jobs.folders.uploads("ada")
    add_files(files, home)
    return Tray(home)


def test_nothing_of_a_tray_is_kept_beside_it(
    space: Server, tray: Tray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, passing = tmp_path / "kept", tmp_path / "passing"
    passing.mkdir()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(kept))
    monkeypatch.setattr(tempfile, "tempdir", str(passing))
    sent = values(kind="scratch", where="upload", budget=None)
    found = check_form(space, sent, "pixels_from_scratch", tray.name(), token_of("ada"))
    assert found.errors == () and found.plan is not None and found.plan.counted is not None
    assert not [path for folder in (kept, passing) for path in folder.rglob("*")]


def test_a_tray_is_submitted_by_its_owner_and_nobody_else(space: Server, tray: Tray) -> None:
    sent = values(kind="scratch", where="upload", budget=None)
    found = check_form(space, sent, "pixels_from_scratch", tray.name(), token_of("ada"))
    assert found.errors == () and found.plan is not None and found.plan.counted is not None
    assert found.plan.counted.members + found.plan.counted.held_out == 60
    planned = tray.for_plan()
    assert str(planned) not in found.plan.yaml
    job = space.jobs.get("ada", submit_form(space, found, token_of("ada")))
    taken = tray.for_training()
    assert space.jobs.config("ada", job.id).train_data_dir == str(taken)

    for name in (tray.name(), str(taken), f"../ada/{tray.name()}", ""):
        with pytest.raises(UserError, match="not here any more"):
            uploaded(space, name, token_of("bob"))
    for name in (tray.name(), f"../ada/{tray.name()}"):
        refused = check_form(space, sent, "pixels_from_scratch", name, token_of("bob"))
        assert "not here any more" in wrong(refused)["upload"]
    with pytest.raises(UserError, match="Sign in above"):
        uploaded(space, tray.name(), None)
    for folder in (taken, planned):
        for key in ("train_data_dir", "dataset_name"):
            of_bob = {"pretrained_model_name_or_path": "a/b", key: str(folder)}
            with pytest.raises(UserError, match="among what you uploaded"):
                space.jobs.submit("bob", of_bob)
    # Not even with the plan of ada's form.
    with pytest.raises(UserError, match="among what you uploaded"):
        submit_form(space, found, token_of("bob"))
    assert space.jobs.list("bob") == []


def test_pictures_that_are_removed_after_the_check_are_not_trained_on(
    space: Server, tray: Tray
) -> None:
    sent = values(kind="scratch", where="upload", budget=None)
    found = check_form(space, sent, "pixels_from_scratch", tray.name(), token_of("ada"))
    tray.remove([tray.pictures()[0].id])
    job = submit_form(space, found, token_of("ada"))
    taken = space.jobs.config("ada", job).train_data_dir
    assert taken is not None and len(list(Path(taken).iterdir())) == 59
    tray.remove(one.id for one in tray.pictures())
    with pytest.raises(UserError, match="not here any more"):
        submit_form(space, found, token_of("ada"))


@pytest.mark.process
def test_a_training_starts_with_the_pictures_that_its_owner_uploaded(
    space: Server, tray: Tray
) -> None:
    small = {"num_rounds": 1, "num_shards": 1, "train_batch_size": 4, "max_train_steps": 4,
             "num_validation_images": 0, "resolution": 8}  # fmt: skip
    model = {"model_config_name_or_path": "configs/models/digits-unet.json"}
    job = space.jobs.submit("ada", {**model, **small, "train_data_dir": str(tray.for_training())})
    space.jobs.scheduler.run()

    def state() -> str:
        return space.jobs.view("ada", job.id).training.state

    until(lambda: state() not in ("waiting", "preparing", "running"), 90)
    assert state() == "done", space.jobs.log("ada", job.id)
