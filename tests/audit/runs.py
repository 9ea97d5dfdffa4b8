"""Small runs to audit, and the command line that audits them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from memshield.__main__ import main
from memshield.audit.images import ImageSet
from memshield.audit.report import Report
from memshield.rundir import RunDir
from tests.tiny import unet_config
from tests.trained_runs import digits, train

QUICK = ("--num_images", "40", "--num_inference_steps", "3")


def small_run(folder: Path, **changes: Any) -> RunDir:
    """Digits, 120 to train on and 80 held out, 3 rounds of 8 steps, saved at their ends."""
    settings = {
        "max_train_samples": 200,
        "held_out_fraction": 0.4,
        "checkpointing_steps": 1000,
        **changes,
    }
    return train(**digits(folder / "run", unet_config(folder), **settings))


def command(*words: object, expect: int = 0) -> None:
    """Run `python -m memshield ...` in this process."""
    assert main([str(word) for word in words]) == expect


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a refused command says."""
    capsys.readouterr()
    command(*words, expect=2)
    return capsys.readouterr().err


def report_in(folder: Path) -> Report:
    return Report.read(folder / "report.json")


def save_pictures(images: ImageSet | np.ndarray[Any, Any], folder: Path) -> Path:
    """Pictures [N, C, H, W] as PNG files."""
    folder.mkdir(parents=True)
    for i, pixels in enumerate(images[: len(images)]):
        shown = pixels[0] if pixels.shape[0] == 1 else pixels.transpose(1, 2, 0)
        Image.fromarray(shown).save(folder / f"{i:05d}.png")
    return folder
