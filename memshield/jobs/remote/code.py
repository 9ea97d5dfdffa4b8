"""This very version of MemShield, for a container that has another one or none."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from importlib.metadata import requires
from pathlib import Path

import memshield
from memshield.config.shipped import APP_ROOT, FOLDER
from memshield.jobs.remote.container import ARCHIVE

_PACKAGE = Path(memshield.__file__).parent
_LEFT_OUT = {"__pycache__", "shipped"}
REQUIREMENTS = "requirements.txt"
CONTAINER = "memshield/jobs/remote/container.py"
"""What a container begins with."""


def code_files() -> dict[str, Path | bytes]:
    """The package, the recipes and the list of packages, by their paths in the container."""
    files: dict[str, Path | bytes] = {}
    for root, name in ((_PACKAGE, "memshield"), (APP_ROOT / FOLDER, FOLDER)):
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and _LEFT_OUT.isdisjoint(inside.parts):
                files[f"{name}/{inside.as_posix()}"] = path
    listed = _PACKAGE.parent / REQUIREMENTS
    if _PACKAGE.parent == APP_ROOT and listed.is_file():
        files[REQUIREMENTS] = listed
    else:
        files[REQUIREMENTS] = "\n".join(requires("memshield") or ()).encode() + b"\n"
    return files


def to_send(files: Mapping[str, Path | bytes]) -> dict[str, Path | bytes]:
    """These files as few: a bucket takes each with requests of its own."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, bytes) else content.read_bytes())
    begin = {name: files[name] for name in (CONTAINER, REQUIREMENTS)}
    return {**begin, ARCHIVE: data.getvalue()}


def version_of(files: dict[str, Path | bytes]) -> str:
    """A name for these files: the release, and a digest of their content."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        data = content if isinstance(content, bytes) else content.read_bytes()
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return f"{memshield.__version__}-{digest.hexdigest()[:12]}"
