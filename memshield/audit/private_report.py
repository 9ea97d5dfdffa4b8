"""The findings of an audit about single training pictures, for their owner only.

Neither private.json, which holds the pictures as data URLs, nor private.html is ever published.
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

from memshield.audit.crops import nearest_crop
from memshield.audit.measures import AuditImages, Findings, NearestPair
from memshield.audit.report import IMAGES_RECORD, PRIVATE
from memshield.audit.report_page import environment
from memshield.rundir import write_text

_SIDE = 128


def write_private(
    findings: Findings, sets: AuditImages, index: npt.NDArray[np.int64], folder: Path, title: str
) -> None:
    """Write private.json and private.html.

    private.json also holds the record of the generated pictures, which tells whether they are
    still the same.

    Args:
        findings: of the search in pixels.
        sets: the pictures.
        index: [N] example index of every training picture.
        folder: of the audit.
        title: of the page.
    """
    at_risk = [
        {
            **asdict(risk),
            "index": int(index[risk.index]),
            "picture": _picture(sets.training[risk.index : risk.index + 1][0]),
        }
        for risk in findings.at_risk
    ]
    pairs = [_pair(pair, sets, int(index[pair.training])) for pair in findings.pairs]
    record = folder / IMAGES_RECORD
    values = {
        "version": 1,
        "images": json.loads(record.read_text(encoding="utf-8")) if record.is_file() else None,
        "pairs": pairs,
        "beyond": findings.beyond.tolist(),
        "at_risk": at_risk,
    }
    write_text(folder / PRIVATE, json.dumps(values, indent=1) + "\n")
    page = (
        environment()
        .get_template("private.html.jinja")
        .render(title=title, at_risk=at_risk, pairs=pairs)
    )
    write_text(folder / "private.html", page)


def _pair(pair: NearestPair, sets: AuditImages, index: int) -> dict[str, object]:
    generated = sets.generated[pair.generated : pair.generated + 1][0]
    training = nearest_crop(sets.training, sets.crops, pair.training, generated, pair.mirrored)
    return {
        **asdict(pair),
        "training": index,
        "generated_picture": _picture(generated),
        "training_picture": _picture(training),
    }


def _picture(pixels: npt.NDArray[np.uint8]) -> str:
    """A picture [C, H, W] as a data URL, scaled to be seen."""
    pixels = np.asarray(pixels).transpose(1, 2, 0)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    scale = _SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    kind = Image.Resampling.NEAREST if scale > 4 else Image.Resampling.BICUBIC
    data = io.BytesIO()
    image.resize(size, kind).save(data, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
