"""How many parameters a model has, from the header of its safetensors file."""

from __future__ import annotations

import json
import math

from tests.hub_server.commit import Commit

FILE = "model.safetensors"


def parameter_count(commit: Commit) -> dict[str, object] | None:
    """By type and in total; None without such a file or with a broken one."""
    blob = commit.files.get(FILE)
    if blob is None:
        return None
    counts: dict[str, int] = {}
    try:
        size = int.from_bytes(blob.data[:8], "little")
        for name, tensor in json.loads(blob.data[8 : 8 + size]).items():
            if name != "__metadata__":
                dtype, shape = tensor["dtype"], tensor["shape"]
                counts[dtype] = counts.get(dtype, 0) + math.prod(shape)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return {"parameters": counts, "total": sum(counts.values())}
