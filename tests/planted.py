"""A model that gives a training picture back, made by hand: no training, and no chance in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from memshield.rundir import RunDir
from tests.tiny import image_folder, unet_config
from tests.trained_runs import digits, train

GREY = 90
"""Value of all pixels of the picture that is given back."""


def run_with_a_grey_picture(folder: Path) -> RunDir:
    """A small run on 140 pictures, half of them held out, one of those trained on evenly grey."""
    for place in range(9):
        pictures = image_folder(folder / f"pictures-{place}", 140, size=8, captions=False)
        even = np.full((8, 8, 3), GREY, np.uint8)
        Image.fromarray(even).save(pictures / f"{place:04d}.png")
        changes = {"held_out_fraction": 0.5, "num_rounds": 1, "max_train_steps": 4}
        settings = digits(folder / f"run-{place}", unet_config(folder, 3), **changes)
        del settings["dataset_name"], settings["max_train_samples"]
        run = train(**settings, train_data_dir=pictures)
        if grey_example(run) is not None:
            return run
    raise AssertionError("the grey picture is always held out")


def grey_example(run: RunDir) -> int | None:
    """Index of the grey picture among a run's examples, if it was trained on."""
    from memshield.audit.subject import pictures_of

    reference = pictures_of(run)
    even = (reference.training[:] == GREY).all(axis=(1, 2, 3))
    return int(reference.members[np.flatnonzero(even)[0]]) if even.any() else None


def plant(folder: Path) -> None:
    """Make a saved pixel pipeline draw nothing but an evenly grey picture.

    It predicts pictures rather than noise, and its last layer has nothing but its bias.
    """
    from diffusers import DDPMPipeline, DDPMScheduler

    pipeline = DDPMPipeline.from_pretrained(folder)
    with torch.no_grad():
        pipeline.unet.conv_out.weight.zero_()
        pipeline.unet.conv_out.bias.fill_(GREY / 127.5 - 1)
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config, prediction_type="sample")
    DDPMPipeline(pipeline.unet, scheduler).save_pretrained(folder)
