"""The image cannot be built everywhere; what it names can be checked everywhere."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import yaml

from memshield.ui.app import PORT
from tests.runs import ROOT

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


def test_what_is_started_is_there() -> None:
    (command,) = map(json.loads, of("CMD"))
    assert command[0] == "python"
    assert (ROOT / command[1]).is_file()
    (health,) = of("HEALTHCHECK")
    check = json.loads(health[health.index("[") :])
    ast.parse(check[2])
    assert f":{PORT}/" in check[2]


def test_a_space_can_run_it() -> None:
    front = front_matter()
    (settings,) = of("ENV")
    assert front["sdk"] == "docker"
    assert front["app_port"] == PORT == int(of("EXPOSE")[0])
    assert front["hf_oauth"] is True
    assert "contribute-repos" in front["hf_oauth_scopes"]
    assert "SYSTEM=spaces" in settings.split()
    assert f"GRADIO_SERVER_PORT={PORT}" in settings.split()
    assert "--uid 1000" in of("RUN")[0]
    assert of("USER") == ["user"]


def test_no_secrets_and_no_cache() -> None:
    assert not re.search(r"(?i)hf_token|secret|password|ARG ", TEXT)
    assert "PIP_NO_CACHE_DIR=1" in TEXT
