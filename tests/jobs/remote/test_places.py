"""What a training on Jobs reads: from the Hub, mounted, or copied; and which token it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from memshield.__main__ import main
from memshield.config.file import make_config
from memshield.errors import UserError
from memshield.jobs.remote import submission
from memshield.jobs.remote.client import HubClient
from memshield.jobs.remote.places import find_places, with_meant
from memshield.jobs.remote.record import new_id
from memshield.jobs.remote.submission import Machine, prepare_submission, send, start
from tests.hub_server import HubServer
from tests.hub_server.jobs.job import Job
from tests.jobs.remote.runs import TOKEN, job_of
from tests.tiny import image_folder, unet_config

pytestmark = pytest.mark.process
TELLS = "import os, sys; print(sorted(os.listdir(sys.argv[1])), os.environ.get('HF_TOKEN'))"
UNET = {"model_config_name_or_path": "configs/models/cifar-unet.json", "output_dir": "x"}


@pytest.fixture(scope="module")
def pictures(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = image_folder(tmp_path_factory.mktemp("pictures"))
    hub.add_repo("dataset", "ada/open", folder)
    hub.add_repo("dataset", "ada/diary", folder, private=True)
    return folder


def test_what_is_public_is_read_from_the_hub(hub: HubServer, pictures: Path) -> None:
    places = find_places(HubClient(), make_config({**UNET, "dataset_name": "ada/open"}))
    assert (places.flags, places.volumes, places.uploads) == ({}, [], {})


def test_what_is_private_is_mounted_and_named_again_afterwards(
    hub: HubServer, pictures: Path
) -> None:
    config = make_config({**UNET, "dataset_name": "ada/diary"})
    places = find_places(HubClient(), config)
    (volume,) = places.volumes
    assert (volume.type, volume.source, volume.read_only) == ("dataset", "ada/diary", True)
    assert volume.revision == hub.head("dataset", "ada/diary")
    assert not places.needs_token
    inside = {**config.model_dump(), **places.flags}
    meant = with_meant(inside, places.meant)
    assert meant["dataset_name"] == "ada/diary"
    assert meant["dataset_revision"] == volume.revision


def started(hub: HubServer, **changes: str) -> Job:
    """A job that tells what it finds, after its end."""
    client, config = HubClient(), make_config({**UNET, "dataset_name": "ada/diary", **changes})
    made = prepare_submission(
        client, config, new_id("mine"), "mine", Machine("cpu-basic", 60, "python:3.11")
    )
    send(client, made)
    record, _ = start(client, made.record, TOKEN)
    job = job_of(hub, record.id)
    job.wait()
    return job


def test_a_token_goes_in_only_for_what_cannot_be_mounted(
    hub: HubServer, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        submission, "training_words",
        lambda record: ["python", "-c", TELLS, "dataset" if record.links else "."],
    )  # fmt: skip
    mounted = started(hub)
    assert mounted.log[-1][1].endswith("] None")
    assert ".png" in mounted.log[-1][1]
    assert "secrets" not in mounted.spec
    secret = started(hub, dataset_config_name="default")
    assert secret.log[-1][1].endswith(TOKEN)
    assert secret.spec["secrets"] == {"HF_TOKEN": TOKEN}
    others = {name: value for name, value in secret.spec.items() if name != "secrets"}
    assert TOKEN not in str(others)
    assert TOKEN not in str(secret.json())


def test_a_model_in_an_own_folder_configs_is_copied(
    hub: HubServer, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = unet_config(tmp_path / "configs").rename(tmp_path / "configs" / "mine.json")
    settings = {"model_config_name_or_path": "configs/mine.json", "dataset_name": "ada/open"}
    places = find_places(HubClient(), make_config(settings))
    assert places.flags == {
        "model_config_name_or_path": "inputs/model_config_name_or_path/mine.json"
    }
    (copied,) = places.uploads.values()
    assert copied.samefile(own)


def test_own_pictures_are_copied_and_what_is_missing_is_named(
    hub: HubServer, pictures: Path
) -> None:
    places = find_places(HubClient(), make_config({**UNET, "train_data_dir": str(pictures)}))
    assert places.flags == {"train_data_dir": "inputs/train_data_dir"}
    assert len(places.uploads) == sum(path.is_file() for path in pictures.rglob("*"))
    assert "is copied to your private bucket ada/memshield-runs" in places.lines[0]
    with pytest.raises(UserError, match="there is no folder"):
        find_places(HubClient(), make_config({**UNET, "train_data_dir": "nowhere"}))
    with pytest.raises(UserError, match="not on the Hub"):
        find_places(HubClient(), make_config({**UNET, "dataset_name": "ada/nothing"}))


def test_a_public_bucket_is_refused(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    HubClient().make_bucket()
    bucket = hub.buckets.get("ada/memshield-runs")
    assert bucket is not None
    monkeypatch.setattr(bucket, "private", False)
    demo = ["--config", "configs/demo.yaml", "--output_dir", str(tmp_path / "demo")]
    assert main(["submit", *demo, "--hardware", "cpu-basic", "--yes"]) == 2
    assert "is public, and training pictures may lie in it" in capsys.readouterr().err
