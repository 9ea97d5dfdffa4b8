"""What an audit found out about single training pictures: for their owner only.

private.json and private.html are never part of what is published.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from memshield.audit.measures import Findings, Sets
from memshield.audit.report import IMAGES_RECORD, PRIVATE
from memshield.audit.report_page import environment
from memshield.rundir import write_text

_SIDE = 128


def write_private(
    findings: Findings, sets: Sets, index: npt.NDArray[np.int64], folder: Path, title: str
) -> None:
    """Write private.json and private.html.

    private.json holds the record of the pictures too: a later set of them is another one.

    Args:
        findings: of the search in pixels.
        sets: the pictures.
        index: [N] example index of every training picture.
        folder: of the audit.
        title: of the page.
    """
    pairs = [{**asdict(pair), "training": int(index[pair.training])} for pair in findings.pairs]
    at_risk = [{**asdict(one), "index": int(index[one.index])} for one in findings.at_risk]
    record = folder / IMAGES_RECORD
    values = {
        "version": 1,
        "images": json.loads(record.read_text(encoding="utf-8")) if record.is_file() else None,
        "pairs": pairs,
        "beyond": findings.beyond.tolist(),
        "at_risk": at_risk,
    }
    write_text(folder / PRIVATE, json.dumps(values, indent=1) + "\n")
    page = environment().get_template("private.html.jinja").render(
        title=title,
        at_risk=[
            {**asdict(one), "index": int(index[one.index]),
             "picture": _picture(sets.training[one.index : one.index + 1])}
            for one in findings.at_risk
        ],
        pairs=[
            {
                "number": pair.generated,
                "index": int(index[pair.training]),
                "ratio": pair.ratio,
                "beyond": pair.beyond,
                "mirrored": pair.mirrored,
                "generated": _picture(sets.generated[pair.generated : pair.generated + 1]),
                "training": _picture(sets.training[pair.training : pair.training + 1]),
            }
            for pair in findings.pairs
        ],
    )  # fmt: skip
    write_text(folder / "private.html", page)


def _picture(rows: npt.NDArray[np.uint8]) -> str:
    """One picture [1, C, H, W] as a data URL, scaled to be seen."""
    pixels = np.asarray(rows)[0].transpose(1, 2, 0)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    scale = _SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    kind = Image.Resampling.NEAREST if scale > 4 else Image.Resampling.BICUBIC
    data = io.BytesIO()
    image.resize(size, kind).save(data, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
