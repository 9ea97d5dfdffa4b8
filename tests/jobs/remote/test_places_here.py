"""The folder here that a run on Jobs is brought to: that of its settings, or one below runs/."""

from __future__ import annotations

import json
import secrets
import shutil
from pathlib import Path

import pytest

from memshield.__main__ import main
from memshield.config.file import make_config, read_yaml
from memshield.jobs.remote.client import HubClient
from memshield.jobs.remote.record import RunRecord, new_id
from memshield.jobs.remote.submission import Machine, prepare_submission, send, start
from memshield.jobs.terminal.on_run import bring_here
from memshield.rundir import RunDir
from tests.hub_server import HubServer
from tests.jobs.remote.runs import ENDS, PRETENDS, job_of, pretend, submit

pytestmark = pytest.mark.process
Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    pretend(monkeypatch, ENDS)
    return tmp_path


def started_by_a_page(hub: HubServer, name: str) -> str:
    """The id of a run that is done, and was started by a page on another machine."""
    id = secrets.token_urlsafe(16)
    config = make_config({
        "model_config_name_or_path": "configs/models/digits-unet.json",
        "dataset_name": "sklearn:digits", "output_dir": f"/data/jobs/{id}/{name}",
    })  # fmt: skip
    client, machine = HubClient(), Machine("cpu-basic", 900, "python:3.11")
    made = prepare_submission(client, config, new_id(name), name, machine)
    send(client, made)
    record, _ = start(client, made.record, mark=f"{id}:1")
    job_of(hub, record.id).wait()
    return record.id


def test_a_run_of_a_page_is_brought_below_the_current_folder(
    hub: HubServer, empty: Path, capsys: Said
) -> None:
    id = started_by_a_page(hub, "digits")
    assert main(["follow", id]) == 0
    assert "audit runs/digits\n" in capsys.readouterr().out
    assert bring_here([id, "--round", "1"]) == ["runs/digits", "--round", "1"]
    assert f"{id} is in runs/digits: " in capsys.readouterr().out
    assert make_config(read_yaml(RunDir("runs/digits").config)).output_dir == "runs/digits"
    # Another run of the name has a folder of its own, and each is found again.
    other = started_by_a_page(hub, "digits")
    assert bring_here([other]) == [f"runs/{other}"]
    assert bring_here([id]) == ["runs/digits"]
    assert bring_here([other]) == [f"runs/{other}"]


def test_a_run_is_found_where_it_was_fetched_to(hub: HubServer, empty: Path, capsys: Said) -> None:
    id = submit(capsys, empty)
    assert main(["fetch", id, "--output_dir", "elsewhere"]) == 0
    assert bring_here([id]) == ["elsewhere"]
    Path("elsewhere").rename("moved")
    assert bring_here([id]) == ["moved"]
    assert not (empty / "mine").exists()
    # Nothing is written over another run.
    Path("moved", ".jobs.json").unlink()
    (empty / "mine").mkdir()
    (empty / "mine" / "config.yaml").write_text("a: 1\n")
    assert main(["fetch", id]) == 2
    said = capsys.readouterr().err
    assert "holds another run" in said
    assert main(["fetch", id, "--output_dir", "mine/config.yaml/run"]) == 2
    assert "config.yaml/run cannot be made: Not a directory" in capsys.readouterr().err
    assert f"fetch {id} --output_dir DIR" in said


def test_a_record_leads_to_no_other_folder() -> None:
    record = RunRecord(
        id="other-aaaaaa", name="../../x", hardware="h", image="i", seconds=9, code="1"
    )
    found = RunRecord.parse(record.model_dump_json().encode(), "mine-bbbbbb")
    assert (found.id, found.name) == ("mine-bbbbbb", "x")


def test_what_was_made_of_a_run_here_is_not_written_over(
    hub: HubServer, empty: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = (
        "for number in (1, 2):\n"
        "    of_it = run.rounds / str(number) / 'pytorch_lora_weights.safetensors'\n"
        "    of_it.parent.mkdir(parents=True); of_it.write_bytes(b'w' * number)\n"
        "import shutil; shutil.copytree(run.rounds / '2', run.model); status.set('done')"
    )
    pretend(monkeypatch, PRETENDS.format(body=rounds))
    id = submit(capsys, empty)
    assert main(["fetch", id]) == 0
    assert main(["fetch", id]) == 0
    run = RunDir(empty / "mine")
    assert run.round_of_model() == 2
    # Another round is chosen here.
    shutil.rmtree(run.model)
    shutil.copytree(run.rounds / "1", run.model)
    assert bring_here([id]) == [str(run.path)]
    assert "was changed there: nothing is brought" in capsys.readouterr().out
    assert main(["fetch", id]) == 2
    assert "was changed since it was fetched" in capsys.readouterr().err
    assert run.round_of_model() == 1
    assert main(["fetch", id, "--output_dir", "again"]) == 0
    # It goes on here.
    status = RunDir("again").status
    status.write_text(json.dumps({**json.loads(status.read_text()), "attempt": 2}))
    assert main(["fetch", id, "--output_dir", "again"]) == 2
    assert f"fetch {id} --output_dir DIR" in capsys.readouterr().err
    # Nor are files that are no run's.
    Path("notes").mkdir()
    Path("notes", "config.txt").touch()
    assert main(["fetch", id, "--output_dir", "notes"]) == 2
    assert "notes holds other files" in capsys.readouterr().err
