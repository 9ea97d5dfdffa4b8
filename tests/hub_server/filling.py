"""Small repos for the Hub: a card, a whole diffusers pipeline, rows and pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.hub_server.server import HubServer

CARD = """---
license: mit
tags:
- toy
- "made-by-code"
datasets: [ada/rows, ada/pictures]
widget:
- text: not a flat list
---
# Tiny
"""


@dataclass(frozen=True)
class Filled:
    """A running Hub, and what was put into it."""

    hub: HubServer
    shas: dict[str, str]
    folders: dict[str, Path]
    pipeline_sum: float


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def write_pipeline(folder: Path) -> float:
    """A whole diffusers pipeline of a few kilobytes; returns the sum of its weights."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    unet = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(4,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
        norm_num_groups=2,
        attention_head_dim=4,
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder)
    (folder / "README.md").write_text(CARD)
    return sum(float(weight.detach().double().sum()) for weight in unet.parameters())


def write_rows(folder: Path, *parts: list[str]) -> None:
    import pyarrow
    from pyarrow import parquet

    (folder / "data").mkdir(parents=True)
    for part, words in enumerate(parts):
        table = pyarrow.table({"text": words})
        parquet.write_table(table, folder / "data" / f"train-{part}.parquet")


def write_pictures(folder: Path) -> None:
    from PIL import Image

    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    lines = [json.dumps({"file_name": f"{name}.png", "text": name}) for name in colours]
    write(folder, {"metadata.jsonl": "\n".join(lines)})
    for name, colour in colours.items():
        Image.new("RGB", (6, 4), colour).save(folder / f"{name}.png")
