"""Which devices there are, found without torch: the server's process never imports it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

CPU = "cpu"


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
