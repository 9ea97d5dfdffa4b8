"""Pictures for the card: generated ones of the audit, none of them near a training picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from memshield.audit.report import IMAGES, IMAGES_RECORD, PRIVATE, Report
from memshield.rundir import RunDir

FOLDER = "samples"
COUNT = 8
_SMALLEST = 128


def write_gallery(run: RunDir, report: Report | None, folder: Path) -> tuple[str, ...]:
    """Write up to `COUNT` pictures of the model's audit as PNG files.

    The audit lists its most suspicious pictures first: those are left out, beyond the threshold
    or not, and without a threshold nothing is shown. Prompts are never shown: they may be
    captions of training pictures.

    Args:
        run: whose audit made them.
        report: of the model; None for no pictures.
        folder: they go to samples/ in it.

    Returns:
        Their paths inside the folder.
    """
    if report is None or report.headline.threshold is None:
        return ()
    places = (run.audit_of(None), run.audit_of(report.target.round))
    audit = next((place for place in places if (place / PRIVATE).is_file()), None)
    if audit is None or not (audit / IMAGES).is_file():
        return ()
    images = np.load(audit / IMAGES, mmap_mode="r", allow_pickle=False)
    chosen = _harmless(audit, len(images))[:COUNT]
    paths = []
    for number, place in enumerate(chosen):
        path = folder / FOLDER / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = np.asarray(images[place]).transpose(1, 2, 0)
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        scale = max(1, -(-_SMALLEST // max(image.size)))
        size = (image.width * scale, image.height * scale)
        image.resize(size, Image.Resampling.NEAREST).save(path, format="PNG")
        paths.append(path.relative_to(folder).as_posix())
    return tuple(paths)


def _harmless(audit: Path, count: int) -> list[int]:
    """Places of whole pictures, the least like any training picture first where that is known."""
    pairs = json.loads((audit / PRIVATE).read_text(encoding="utf-8"))["pairs"]
    broken = json.loads((audit / IMAGES_RECORD).read_text(encoding="utf-8"))["broken"]
    listed = {pair["generated"]: pair for pair in pairs}
    unlisted = [i for i in range(count) if i not in listed and i not in broken]
    # Of a small audit all are listed: the half that is nearer to training pictures is left out.
    order = sorted((p for p in pairs if not p["beyond"]), key=lambda pair: -pair["ratio"])
    return unlisted + [pair["generated"] for pair in order[: len(pairs) // 2]]
