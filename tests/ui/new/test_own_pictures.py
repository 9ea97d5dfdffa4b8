"""From an upload to a training on a Space: whose pictures may be trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from memshield.errors import UserError
from memshield.ui.new.own_pictures import uploaded
from memshield.ui.new.submission import check_form, submit_form
from memshield.ui.new.uploads.store import accept_upload
from memshield.ui.server.server import Server
from tests.ui.new.test_form import at, token_of, values, wrong
from tests.ui.pages import end_tasks, until
from tests.ui.repos import pictures


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Server]:
    made = at(tmp_path, on_space=True)
    yield made
    made.jobs.close()
    end_tasks(tmp_path / "data")


@pytest.fixture
def upload(space: Server, tmp_path: Path) -> Path:
    """Ada's."""
    files = sorted(pictures(tmp_path / "in", range(60)).iterdir())
    return accept_upload(files, space.jobs.folders.uploads("ada"))


def test_an_upload_is_submitted_by_its_owner_and_nobody_else(space: Server, upload: Path) -> None:
    sent = values(kind="scratch", where="upload", budget=None)
    found = check_form(space, sent, "pixels_from_scratch", upload.name, token_of("ada"))
    assert found.errors == () and found.plan is not None and found.plan.counted is not None
    assert found.plan.counted.members + found.plan.counted.held_out == 60
    job = space.jobs.get("ada", submit_form(space, found, token_of("ada")))
    assert space.jobs.config("ada", job.id).train_data_dir == str(upload)
    assert str(upload) not in found.plan.yaml

    for name in (upload.name, str(upload), f"../ada/{upload.name}"):
        with pytest.raises(UserError, match="not here any more"):
            uploaded(space, name, token_of("bob"))
        refused = check_form(space, sent, "pixels_from_scratch", name, token_of("bob"))
        assert "not here any more" in wrong(refused)["upload"]
    with pytest.raises(UserError, match="Sign in above"):
        uploaded(space, upload.name, None)
    for values_of_bob in ({"train_data_dir": str(upload)}, {"dataset_name": str(upload)}):
        with pytest.raises(UserError, match="among what you uploaded"):
            space.jobs.submit("bob", {"pretrained_model_name_or_path": "a/b", **values_of_bob})
    assert space.jobs.list("bob") == []


@pytest.mark.process
def test_a_training_starts_with_the_pictures_that_its_owner_uploaded(
    space: Server, upload: Path
) -> None:
    small = {"num_rounds": 1, "num_shards": 1, "train_batch_size": 4, "max_train_steps": 4,
             "num_validation_images": 0, "resolution": 8}  # fmt: skip
    model = {"model_config_name_or_path": "configs/models/digits-unet.json"}
    job = space.jobs.submit("ada", {**model, **small, "train_data_dir": str(upload)})
    space.jobs.scheduler.run()

    def state() -> str:
        return space.jobs.view("ada", job.id).training.state

    until(lambda: state() not in ("waiting", "preparing", "running"), 90)
    assert state() == "done", space.jobs.log("ada", job.id)
