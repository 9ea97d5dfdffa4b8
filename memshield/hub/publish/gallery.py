"""Pictures for the card: generated ones of the audit, none of them near a training picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from memshield.audit.prompts import cycled
from memshield.audit.report import IMAGES, IMAGES_RECORD, PRIVATE, Report
from memshield.digests import texts_sha256
from memshield.rundir import RunDir

FOLDER = "samples"
COUNT = 8
_SMALLEST = 128


def write_gallery(
    run: RunDir, report: Report | None, folder: Path, validation_prompts: Sequence[str] = ()
) -> dict[str, str | None]:
    """Write up to `COUNT` pictures of the model's audit as PNG files.

    Left out are all beyond the threshold, and the most suspicious of the others. Nothing is shown
    without a threshold, where another measure finds more than chance, or where the pictures that
    lie there are not those that were examined. Only prompts that the owner wrote for validation
    are shown with them: others may be captions of training pictures.

    Args:
        run: whose audit made them.
        report: of the model; None for no pictures.
        folder: they go to samples/ in it.
        validation_prompts: of the run.

    Returns:
        Their paths inside the folder, each with its prompt, or None where it is not shown.
    """
    if report is None or report.headline.threshold is None or _finds_more(report):
        return {}
    places = (run.audit_of(None), run.audit_of(report.target.round))
    audit = next((place for place in places if (place / PRIVATE).is_file()), None)
    if audit is None:
        return {}
    try:
        images = np.load(audit / IMAGES, mmap_mode="r", allow_pickle=False)
        chosen = _harmless(audit, report)[:COUNT]
        prompts = _prompts(audit, report, validation_prompts)
    except (OSError, ValueError, LookupError, TypeError):
        return {}  # of an older or broken audit: a card needs no pictures
    shown: dict[str, str | None] = {}
    for number, place in enumerate(chosen):
        path = folder / FOLDER / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = np.asarray(images[place]).transpose(1, 2, 0)
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        scale = max(1, -(-_SMALLEST // max(image.size)))
        size = (image.width * scale, image.height * scale)
        image.resize(size, Image.Resampling.NEAREST).save(path, format="PNG")
        name = path.relative_to(folder).as_posix()
        shown[name] = prompts[place] if prompts else None
    return shown


def _prompts(audit: Path, report: Report, validation_prompts: Sequence[str]) -> list[str]:
    """[N] the prompts of all pictures, where they are the owner's validation prompts; else []."""
    if report.generated.prompts != "validation" or not validation_prompts:
        return []
    prompts = cycled(validation_prompts, report.generated.count)
    record = json.loads((audit / IMAGES_RECORD).read_text(encoding="utf-8"))
    # The run's settings may have been changed since.
    return prompts if record["prompts"] == texts_sha256(prompts) else []


def _finds_more(report: Report) -> bool:
    """Whether a measure that does not tell single pictures apart finds copies beyond chance."""
    others = [one.excess_interval for one in report.memorization if one.space != "pixels"]
    return any(found is not None and found[0] > 0 for found in others)


def _harmless(audit: Path, report: Report) -> list[int]:
    """Places of whole pictures that are neither beyond the threshold nor among the suspicious."""
    private = json.loads((audit / PRIVATE).read_text(encoding="utf-8"))
    record = json.loads((audit / IMAGES_RECORD).read_text(encoding="utf-8"))
    made = report.generated
    said = (record["done"], record["seed"], record["steps"])
    if record != private["images"] or said != (made.count, made.seed, made.steps):
        return []
    listed = {pair["generated"] for pair in private["pairs"]}
    left_out = {*listed, *private["beyond"], *record["broken"]}
    unlisted = [place for place in range(made.count) if place not in left_out]
    # Of a small audit all are listed: the half that is nearer to training pictures is left out.
    order = sorted(private["pairs"], key=lambda pair: -pair["ratio"])
    far = [pair["generated"] for pair in order[: len(order) // 2]]
    return unlisted + [place for place in far if place not in private["beyond"]]
