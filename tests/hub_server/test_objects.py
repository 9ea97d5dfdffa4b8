"""Ids of commits, folders and files, with git as the reference."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.hub_server.commit import Commit, commit_of_folder
from tests.hub_server.filling import write


@pytest.mark.process
@pytest.mark.skipif(shutil.which("git") is None, reason="git is the reference here")
def test_object_ids_are_those_of_git(tmp_path: Path) -> None:
    # Names whose order differs between git's rule and a plain sort.
    files = {"a.txt": "1", "a/b/c.txt": "2", "a-b.txt": "3", "a/b.txt": "", "ab/é.txt": "4"}
    write(tmp_path, files)
    ours = commit_of_folder("model", tmp_path)
    person = {"NAME": "hub", "EMAIL": "hub@localhost", "DATE": "1700000000 +0000"}
    signature = {f"GIT_{who}_{k}": v for who in ("AUTHOR", "COMMITTER") for k, v in person.items()}
    no_config = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    environment = {**os.environ, **no_config, **signature}

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        run = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    tree = git("write-tree")
    assert ours.folders[""] == tree
    assert ours.folders["a"] == git("rev-parse", f"{tree}:a")
    assert ours.files["a.txt"].oid == git("rev-parse", f"{tree}:a.txt")
    first = git("commit-tree", tree, "-m", "Add files")
    assert ours.oid == first
    second = Commit(ours.files, parent=first, title="Change", description="Why")
    assert second.oid == git("commit-tree", tree, "-p", first, "-m", "Change", "-m", "Why")


def test_a_revision_depends_on_the_files_only(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, {"config.json": "{}"})
        write(tmp_path / name / ".cache", {"huggingface": name})  # a download's bookkeeping
    write(tmp_path / "three", {"config.json": "[]"})
    one, two, three = (
        commit_of_folder("model", tmp_path / name).oid for name in ("one", "two", "three")
    )
    assert one == two != three
