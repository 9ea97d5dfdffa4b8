"""The image cannot be built everywhere; what it names can be checked everywhere."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from gradio_client import Client

from memshield.ui.app import PORT
from memshield.ui.server.scopes import JOBS_SCOPE
from memshield.ui.server.visitor import LONGEST_SECONDS
from tests.hub.conftest import TOKEN
from tests.hub_server import HubServer
from tests.trained_runs import ROOT
from tests.ui.servers import end_tasks, space_environment, start, until

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LINES = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()


def of(instruction: str) -> list[str]:
    """What follows an instruction, of each of its lines."""
    return [line.split(maxsplit=1)[1] for line in LINES if line.startswith(f"{instruction} ")]


def front_matter() -> dict[str, Any]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text.split("---\n")[1]))


def test_everything_that_is_copied_is_there() -> None:
    copied = [word for line in of("COPY") for word in line.split()[:-1] if "--" not in word]
    assert {"app.py", "memshield", "configs", "requirements.txt"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists(), name
    assert "." not in copied, "only what is named: no runs, no secrets"
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("*\n", 1)[1].splitlines()
    assert {line.removeprefix("!") for line in kept if line.startswith("!")} == set(copied)


def test_what_is_started_is_there() -> None:
    (command,) = map(json.loads, of("CMD"))
    assert command[0] == "python"
    assert (ROOT / command[1]).is_file()
    (health,) = of("HEALTHCHECK")
    check = json.loads(health[health.index("[") :])
    ast.parse(check[2])
    assert f":{PORT}/" in check[2]


@pytest.mark.process
@pytest.mark.slow
def test_what_is_copied_serves_trains_and_is_healthy(tmp_path: Path) -> None:
    """The image's files and no others, started as the image starts them."""
    app = tmp_path / "app"
    app.mkdir()
    for line in of("COPY"):
        *names, target = [word for word in line.split() if "--" not in word]
        for name in names:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, app / target)
            else:
                shutil.copy(ROOT / name, app / target)
    (settings,) = of("ENV")
    given = dict(one.split("=", 1) for one in settings.split())
    (health,) = of("HEALTHCHECK")
    (command,) = map(json.loads, of("CMD"))
    assert command == ["python", "app.py"]
    with HubServer() as hub:
        hub.add_user("ada", TOKEN)
        hub.add_oauth_client("app", "of-the-app")
        environment = space_environment(tmp_path, hub, "hf_" + "o" * 30)
        environment |= {name: given[name] for name in ("SYSTEM", "HF_UPDATE_DOWNLOAD_COUNTS")}
        running = start(tmp_path, environment, app=app)
        try:
            check = json.loads(health[health.index("[") :].replace(str(PORT), str(running.port)))
            subprocess.run([sys.executable, *check[1:]], check=True)
            ada: Any = Client(running.url, verbose=False, oauth_token=TOKEN)
            job = ada.predict({"recipe": "demo", "epochs": 1, "rounds": 1}, api_name="/submit")
            until(lambda: running.state() in ("running", "done"))
            said = ada.predict(job, api_name="/status")["command"]
            assert said.startswith("accelerate launch --config_file configs/accelerate/")
        finally:
            running.kill()
            end_tasks(running.data)
        with pytest.raises(subprocess.CalledProcessError):
            subprocess.run([sys.executable, *check[1:]], check=True, stderr=subprocess.DEVNULL)


def test_a_space_can_run_it() -> None:
    front = front_matter()
    (settings,) = of("ENV")
    assert front["sdk"] == "docker"
    assert front["app_port"] == PORT == int(of("EXPOSE")[0])
    assert front["hf_oauth"] is True
    assert front["hf_oauth_scopes"] == ["contribute-repos", JOBS_SCOPE]
    # A training that publishes has the token that it was started with: it must last, but no
    # longer than the server would keep it.
    assert front["hf_oauth_expiration_minutes"] * 60 == LONGEST_SECONDS
    assert "SYSTEM=spaces" in settings.split()
    assert f"GRADIO_SERVER_PORT={PORT}" in settings.split()
    assert "--uid 1000" in of("RUN")[0]
    assert of("USER") == ["user"]


def test_no_secrets_and_no_cache() -> None:
    assert not re.search(r"(?i)hf_token|secret|password|ARG ", TEXT)
    assert "PIP_NO_CACHE_DIR=1" in TEXT
