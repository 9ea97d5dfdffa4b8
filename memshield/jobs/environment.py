"""The environment of a task, and the devices that tasks run on; found without torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from memshield.jobs.processes import MARK
from memshield.jobs.records import LOCAL

# Variables that name where a token is found, or a cache that others' files lie in.
_OPERATORS = (
    "HF_OIDC_RESOURCE",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_ASSETS_CACHE",
    "HUGGINGFACE_ASSETS_CACHE",
    "HF_DATASETS_CACHE",
    "HF_XET_CACHE",
    "HF_MODULES_CACHE",
    "TRANSFORMERS_CACHE",
)
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_KEY", re.IGNORECASE)

CPU = "cpu"


def environment_of(
    owner: str,
    token: str | None,
    device: str | None,
    mark: str,
    cache: Path,
    base: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The whole environment of a task's processes.

    Somebody's job never sees a secret of the operator, nor a token in the operator's login store;
    and its downloads lie apart, for a cache hands a private dataset to whoever asks next. Where
    nobody signs in, the one user is the operator.

    Args:
        owner: of the job.
        token: the owner's, if there is one.
        device: as CUDA_VISIBLE_DEVICES names it, `CPU`, or None for none.
        mark: of the task.
        cache: folder of the owner's downloads and encoded pictures.
        base: the server's own environment.
    """
    values = dict(base)
    if owner == LOCAL:
        if token is not None:  # typed on the page, before that of the environment
            values["HF_TOKEN"] = token
    else:
        values = {
            name: value
            for name, value in values.items()
            if not _SECRET.search(name) and name not in _OPERATORS
        }
        values["HF_HOME"] = str(cache / "huggingface")
        values["MEMSHIELD_CACHE"] = str(cache / "memshield")
        values["HF_TOKEN_PATH"] = os.devnull
        if token is None:
            values["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
        else:
            values["HF_TOKEN"] = token
            values.pop("HF_HUB_DISABLE_IMPLICIT_TOKEN", None)
    values["CUDA_VISIBLE_DEVICES"] = "" if device in (None, CPU) else str(device)
    values[MARK] = mark
    # A log that is read while it is written should not lag by a buffer.
    values["PYTHONUNBUFFERED"] = "1"
    return values


def find_devices(
    environment: Mapping[str, str] = os.environ, dev: Path = Path("/dev")
) -> list[str]:
    """The GPUs, as CUDA_VISIBLE_DEVICES names them, or the CPU where there are none.

    Args:
        environment: whose CUDA_VISIBLE_DEVICES counts.
        dev: folder of device files.
    """
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",")]
        # CUDA ignores what follows the first name that is none.
        end = next((i for i, name in enumerate(names) if name in ("", "-1", "NoDevFiles")), None)
        return names[:end] or [CPU]
    # A container may see one file with a high number; CUDA counts from 0 what it sees.
    count = sum(path.name.removeprefix("nvidia").isdecimal() for path in dev.glob("nvidia*"))
    return [str(index) for index in range(count)] or [CPU]
