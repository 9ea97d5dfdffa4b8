"""Output files, devices, commands, publications in words, and what is not imported."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memshield.jobs.commands import ROOT, Commands, as_typed
from memshield.jobs.environment import find_devices
from memshield.jobs.folders import name_from
from memshield.jobs.logs import tail, trim, without_launcher
from memshield.jobs.records import Place
from memshield.rundir import this_process
from tests.jobs.children import DEMO, DONE, Scripted, ended, open_jobs, until, view

# Output


def test_the_last_lines_of_an_output(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert tail(path, 5) == []
    path.write_bytes(b"one\n\xff two\n 10%\r 20%\r 30%\n\nlast")
    assert tail(path, 3) == ["\ufffd two", " 30%", "last"]
    path.write_text("x" * 100 + "\n" + "y" * 70_000 + "\nend\n")
    assert tail(path, 9) == ["end"]


def test_an_output_that_grows_too_long_is_cut_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "log"
    trim(path)
    with path.open("ab", buffering=0) as writer:
        for number in range(1000):
            writer.write(f"line {number}\n".encode())
        trim(path, 2000)
        writer.write(b"more\n")
    lines = path.read_text().splitlines()
    assert lines[0] == "[earlier output was dropped]"
    assert lines[-2:] == ["line 999", "more"]
    assert path.stat().st_size < 1200
    assert all(line.startswith("line ") for line in lines[1:-1])


def test_the_launchers_traceback_is_left_out() -> None:
    own = [
        "Traceback (most recent call last):",
        '  File "memshield/training/loop.py"',
        "KeyError: 7",
    ]
    launchers = [
        "Traceback (most recent call last):",
        '  File "/lib/python3.11/runpy.py", line 198, in _run_module_as_main',
        '  File "/site-packages/accelerate/commands/launch.py", line 1, in <module>',
        "subprocess.CalledProcessError: ... returned non-zero exit status 1.",
    ]
    assert without_launcher([*own, *launchers]) == own
    assert without_launcher(own) == own
    assert without_launcher([" 30%|###  " + launchers[0], *launchers[1:]]) == [" 30%|###"]
    assert without_launcher([]) == []


# Devices


@pytest.mark.parametrize(
    ("visible", "files", "found"),
    [
        (None, [], ["cpu"]),
        (None, ["nvidia0", "nvidia7", "nvidiactl", "nvidia-uvm"], ["0", "1"]),
        ("", ["nvidia0"], ["cpu"]),
        ("-1", ["nvidia0"], ["cpu"]),
        ("2, GPU-5f", [], ["2", "GPU-5f"]),
        ("1,-1,2", [], ["1"]),
    ],
)
def test_devices(tmp_path: Path, visible: str | None, files: list[str], found: list[str]) -> None:
    for name in files:
        (tmp_path / name).touch()
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert find_devices(environment, tmp_path) == found


# Commands


def test_commands_are_those_that_a_person_types(tmp_path: Path) -> None:
    from memshield.audit.arguments import audit_parser
    from memshield.config.flags import given

    settings = tmp_path / "my settings.yaml"
    commands = Commands(on_gpu=True)
    words = commands.train(settings)
    launcher = words[words.index("--config_file") + 1]
    assert (ROOT / launcher).is_file()
    assert as_typed(words).endswith(f"-m memshield.train --config '{settings}'")
    assert shlex.split(as_typed(words)) == ["accelerate", "launch", *words[3:]]
    assert (ROOT / Commands(on_gpu=False).train(settings)[4]).is_file()
    # What another store began is followed, and gone on with, by its id.
    place = Place("l4x1", 3600, "digits-abcdef", found=True)
    asked = "python -m memshield resume digits-abcdef --hardware l4x1 --timeout 3600s"
    assert as_typed(commands.submit(settings, place)) == asked
    begun = replace(place, seconds=0, mark="digits-abcdef.1")
    assert as_typed(commands.submit(settings, begun)) == (
        "python -m memshield follow digits-abcdef"
    )
    words = commands.on_run(
        tmp_path, ("audit", "--round", "3", "--num_images", "40", "--beside", "base")
    )
    parsed = given(audit_parser(), words[4:])
    assert (parsed["target"], parsed["round"], parsed["num_images"]) == (str(tmp_path), 3, 40)
    assert parsed["beside"] == ["base"]
    words = commands.publish(
        tmp_path,
        {"hub_model_id": "ada/x", "hub_private_repo": False, "hub_confirm": ["license"]},
        {"plain": tmp_path / "plain"},
    )
    assert words[4:] == [
        *(str(tmp_path), "--hub_model_id", "ada/x", "--hub_private_repo", "false"),
        *("--hub_confirm", "license", "--beside", f"plain={tmp_path / 'plain'}"),
    ]


@pytest.mark.parametrize(
    ("text", "name"), [("", "run"), ("../..", "run"), ("My Set!", "my-set"), ("x" * 99, "x" * 60)]
)
def test_names_of_run_folders(text: str, name: str) -> None:
    assert name_from(text) == name


# Audits and publications


def done_job(root: Path, other: str) -> Any:
    jobs = open_jobs(root, commands=Scripted(DONE, other))
    job = jobs.submit("", {**DEMO, "hub_model_id": "ada/x"})
    until(lambda: ended(jobs, job), jobs=jobs)
    shown = view(jobs, job)
    assert shown.training.state == "done"
    assert shown.actions == ("audit", "publish", "delete")
    assert (shown.auditing.state, shown.publishing.state) == ("none", "none")
    with pytest.raises(ValueError, match="its training is done"):
        jobs.resume("", job.id)
    return jobs, job


@pytest.mark.process
def test_an_audit_takes_the_device_and_tells_how_it_went(root: Path) -> None:
    jobs, job = done_job(
        root, "import sys; sys.exit('round: no such' if '--round' in sys.argv else 0)"
    )
    with pytest.raises(ValueError, match="there is no such model yet"):
        jobs.audit("", job.id, round=1)
    (jobs.folders.run(job).rounds / "1").mkdir(parents=True)
    jobs.audit("", job.id)
    assert view(jobs, job).auditing.state == "waiting"
    until(lambda: ended(jobs, job), jobs=jobs)
    assert view(jobs, job).auditing.state == "done"
    jobs.audit("", job.id, round=1)
    jobs.scheduler.step()
    assert jobs.get("", job.id).tasks[-1].device == "cpu"
    until(lambda: ended(jobs, job), jobs=jobs)
    shown = view(jobs, job)
    assert (shown.auditing.state, shown.auditing.last_lines) == ("failed", ("round: no such",))
    assert shown.training.state == "done"
    assert jobs.log("", job.id) == "round: no such"
    jobs.close()


def publication(state: str, **values: Any) -> str:
    told = {"state": state, "step": "uploading", "repo_id": "ada/x", "reason": None, **values}
    return json.dumps(told)


PUBLISHES = """
import json, os, sys, time
from pathlib import Path
from memshield.rundir import RunDir
from memshield.runs.publication import Publication
run = RunDir(sys.argv[1])
publication = Publication(run, "ada/x", "the command")
publication.at("uploading")
while not (run.path / "go").exists():
    time.sleep(0.01)
if (run.path / "refuse").exists():
    publication.ended("failed", "No room")
    sys.exit(2)
publication.ended("done", step="done", url="http://hub/ada/x")
"""


@pytest.mark.process
def test_publishing_is_told_apart_from_training_and_can_be_repeated(root: Path) -> None:
    jobs, job = done_job(root, PUBLISHES)
    run = jobs.folders.run(job)
    for name in ("num_shards", "push_to_hub", "output_dir"):
        with pytest.raises(ValueError, match="no setting of publishing"):
            jobs.publish("", job.id, {name: 1})
    jobs.publish("", job.id)
    until(lambda: view(jobs, job).publishing.words == "Upload in one commit", jobs=jobs)
    assert view(jobs, job).publishing.state == "running"
    assert jobs.get("", job.id).tasks[-1].device is None
    jobs.stop("", job.id)
    assert view(jobs, job).publishing.state == "stopping"
    until(lambda: ended(jobs, job), jobs=jobs)
    assert view(jobs, job).publishing.state == "stopped"
    for name, state in (("refuse", "failed"), ("go", "done")):
        (run.path / "go").touch()
        (run.path / name).touch()
        jobs.publish("", job.id, {"hub_private_repo": True})
        until(lambda: ended(jobs, job), jobs=jobs)
        shown = view(jobs, job)
        assert shown.publishing.state == state
        assert shown.training.state == "done"
        (run.path / "refuse").unlink(missing_ok=True)
    assert shown.publishing.url == "http://hub/ada/x"
    assert shown.publishing.repo_id == "ada/x"
    assert "--hub_private_repo true" in shown.command
    jobs.close()


@pytest.mark.process
def test_a_publication_that_was_killed_is_seen(root: Path) -> None:
    jobs, job = done_job(root, "")
    gone = {**this_process(0), "start_time": 1.0}
    path = jobs.folders.run(job).path / "publish.json"
    path.write_text(publication("running", process=gone))
    shown = view(jobs, job)
    assert shown.publishing.state == "died"
    assert "Publishing again goes on" in str(shown.publishing.reason)
    path.write_text(publication("failed", process=gone, reason="No room"))
    assert view(jobs, job).publishing.reason == "No room"
    jobs.close()


@pytest.mark.process
def test_the_jobs_import_nothing_heavy() -> None:
    program = (
        "import sys, memshield.jobs.service; "
        "heavy = {'torch', 'gradio', 'diffusers', 'transformers', 'datasets', 'accelerate'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
