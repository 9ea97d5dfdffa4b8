"""What `pip install .` gives: commands, recipes and the page's files, from any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from memshield.config.shipped import find_shipped
from tests.trained_runs import ROOT

pytestmark = pytest.mark.process

BUILT_FROM = ("memshield", "configs", "pyproject.toml", "requirements.txt", "README.md", "LICENSE")
CHECKS = """
import memshield
from memshield.config.shipped import APP_ROOT
from memshield.jobs.commands import ROOT
from memshield.ui.form.recipes import recipes
from memshield.ui.theme import CSS
assert not APP_ROOT.is_relative_to({checkout!r})
assert (ROOT / "configs/accelerate/cpu.yaml").is_file()
assert len(recipes()) == 11 and CSS
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package is installed in, from a copy of the sources."""
    sources, target = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("installed")
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            left_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, sources / name, symlinks=True, ignore=left_out)
        else:
            shutil.copy(ROOT / name, sources / name)
    words = ["--no-deps", "--no-build-isolation", "--no-compile", "--target", str(target)]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", *words, str(sources)],
        check=True,
        timeout=600,
    )
    return target


def run(installed: Path, elsewhere: Path, *command: str) -> str:
    """What a command prints that is started in another folder."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        command,
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    ).stdout


def test_recipes_and_the_pages_files_are_package_data(installed: Path, tmp_path: Path) -> None:
    code = CHECKS.format(checkout=str(ROOT))
    assert run(installed, tmp_path, sys.executable, "-c", code) == ""
    for folder, pattern in (("memshield", "*.jinja"), ("memshield", "*.css"), ("configs", "*.*")):
        kept = "memshield/shipped/configs" if folder == "configs" else folder
        there = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob(pattern)}
        assert there == {
            path.relative_to(installed / kept) for path in (installed / kept).rglob(pattern)
        }


@pytest.mark.slow
def test_commands_find_recipes_from_any_folder(installed: Path, tmp_path: Path) -> None:
    script = installed / "bin" / "memshield"
    words = ("plan", "--config", "configs/demo.yaml", "--max_train_samples", "200")
    planned = run(installed, tmp_path, sys.executable, str(script), *words)
    assert "steps         3200 in all" in planned
    assert run(installed, tmp_path, sys.executable, "-m", "memshield", *words) == planned
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_the_current_folder_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_shipped("configs/demo.yaml") == ROOT / "configs" / "demo.yaml"
    assert find_shipped("configs/none.yaml") == Path("configs/none.yaml")
    assert find_shipped("configs/../README.md") == Path("configs/../README.md")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "demo.yaml").write_text("seed: 1")
    assert find_shipped("configs/demo.yaml") == Path("configs/demo.yaml")
