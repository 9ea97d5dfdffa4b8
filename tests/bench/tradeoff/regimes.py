"""What is trained on what: sets of pictures, models, and how long."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memshield.audit.images import Ints, Pixels
from memshield.data.images import crop, open_image, resize_to_cover, to_mode

FASHION, EMOJI = "fashion-mnist-8k.parquet", "emoji-64.parquet"
RESERVED = {FASHION: 3000, EMOJI: 600}
"""Pictures that no run trains on or holds out: the classifier, and bases, learn from them."""
COLUMNS = ["image", "text", "label"]
NEW_CLASSES = range(5, 10)
"""Of Fashion-MNIST: sandals, shirts, sneakers, bags, ankle boots."""
NEW_CATEGORIES = (1, 4, 5, 9)
"""Of emoji: animals and nature, food and drink, objects, travel and places. Of flags and symbols
one in a hundred is nearly another one: copies hide behind a threshold that so many pass by chance.
"""

FOR_CAPTIONS = frozenset({"draws-low", "draws-low-agc", "iet-agc-low"})
"""Methods for models with captions alone."""


@dataclass(frozen=True)
class Regime:
    """A kind of training.

    Attributes:
        shown: for a table.
        dataset: a file of the data folder.
        channels: of the pictures.
        members: pictures that are trained on.
        samples: that a training sees in all.
        audits: evenly over them.
        fine_tuned: whether a model of other pictures is the start, by its name in `bases`.
        settings: of the training.
        classes: of the pictures that are trained on and held out; None for all. A model that is
            fine-tuned has learned from pictures of the others.
        without: methods that this kind of training does not have; by default those of captions.
        own: settings of a method that differ in this regime, by the method's name.
        resolution: pixels.
        held_out: pictures that an audit compares with.
        watched: pictures that the held-out loss is watched on; of every method, so that all train
            on the same members.
        guidance: scale of classifier-free guidance of the pictures; None for the stock pipeline's.
    """

    shown: str
    dataset: str
    channels: int
    members: int
    samples: int
    audits: int
    fine_tuned: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    classes: Sequence[int] | None = None
    without: frozenset[str] = FOR_CAPTIONS
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    resolution: int = 16
    held_out: int = 1000
    watched: int = 60
    guidance: float | None = None


FROM_SCRATCH: dict[str, Any] = {"learning_rate": 2e-3, "ema_decay": 0.995}

ENSEMBLES = ("iet-agc", "iet-agc-outer", "outer-draws")

NOT_FOR_LORAS = frozenset(
    {
        *("plain-ema-99", "plain-ema-998"),  # no moving average is kept of a LoRA
        *("iet-agc-outer", "outer-draws"),  # nor has the mean of several the basis of one
        *("augment", "draws-augment"),  # labels of augmentations are for pixel models
        "draws-agc",  # "draws-low-agc" is the one for captions
    }
)
# The paper's threshold for text models. The level of biased draws stays that of pixel models.
OF_LORAS: dict[str, dict[str, Any]] = {
    "agc": {"skip_threshold": 0.8},
    "draws-low-agc": {"skip_threshold": 0.8},
    "iet-agc": {"skip_threshold": 0.8, "train_batch_size": 10},  # of shards of 12
    "iet-agc-low": {"skip_threshold": 0.8, "train_batch_size": 10},
}

REGIMES: dict[str, Regime] = {
    "fashion-100": Regime(
        "Fashion-MNIST, 100 pictures, from scratch",
        FASHION, 1, 100, 64_000, 8, settings=FROM_SCRATCH,
    ),
    "tuned-100": Regime(
        "Fashion-MNIST, 100 pictures of new classes, fine-tuned",
        FASHION, 1, 100, 40_000, 8, "fashion",
        settings={"learning_rate": 3e-4, "ema_decay": 0.995}, classes=NEW_CLASSES,
    ),
    "fashion-1000": Regime(
        "Fashion-MNIST, 1,000 pictures, from scratch",
        FASHION, 1, 1000, 640_000, 8,
        settings={**FROM_SCRATCH, "train_batch_size": 128},
        own={name: {"train_batch_size": 125} for name in ENSEMBLES},  # of shards of 250
    ),
    "emoji-200": Regime(
        "Emoji, 200 pictures, from scratch",
        EMOJI, 3, 200, 160_000, 8, settings=FROM_SCRATCH,
    ),
    "emoji-lora": Regime(
        "Emoji of new kinds with captions, 50 pictures, a LoRA of a latent model",
        EMOJI, 3, 50, 32_000, 8, "emoji",
        settings={
            "training": "lora", "rank": 32, "learning_rate": 1e-3, "use_ema": False,
            "proportion_empty_prompts": 0.1,
        },
        classes=NEW_CATEGORIES, without=NOT_FOR_LORAS, own=OF_LORAS, resolution=32, held_out=400,
        guidance=3.0,  # 7.5 is for large models, and drives this one off what it knows
    ),
}  # fmt: skip

UNET: dict[str, Any] = {
    "_class_name": "UNet2DModel",
    "layers_per_block": 1,
    "block_out_channels": [16, 32, 64],
    "down_block_types": ["DownBlock2D", "DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
    "norm_num_groups": 8,
    "attention_head_dim": 16,
}


@dataclass(frozen=True)
class Pool:
    """The pictures of a dataset file, in an order that is always the same.

    Attributes:
        table: image, text, label, and base where there are variants: of each base the first only,
            because others differ in skin tone only.
        reserved: [R] rows for classifiers and bases.
        free: the other rows.
    """

    table: pa.Table
    reserved: Ints
    free: Ints

    @classmethod
    def of(cls, data: Path, name: str) -> Pool:
        """Read a file of the data folder."""
        table = _labelled(data / name)
        if "base" in table.schema.names:
            _, first = np.unique(np.asarray(table["base"].to_pylist()), return_index=True)
            table = table.take(np.sort(first))
        order = np.random.default_rng(0).permutation(table.num_rows)
        count = RESERVED[name]
        return cls(table, order[:count], order[count:])

    @classmethod
    def with_variants(cls, path: Path, bases: set[str]) -> Pool:
        """All pictures of these bases in a file, reserved."""
        table = _labelled(path)
        rows = np.flatnonzero([base in bases for base in table["base"].to_pylist()])
        return cls(table.take(rows), np.arange(len(rows)), np.arange(0))

    @property
    def labels(self) -> Ints:
        """[N] class of every picture."""
        found: Ints = self.table["label"].to_numpy()
        return found

    def write(self, rows: Ints, path: Path) -> Path:
        """A parquet file with these rows, whole or not there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}.tmp")
        pq.write_table(self.table.select(COLUMNS).take(rows), aside)
        aside.replace(path)
        return path

    def pixels(self, rows: Ints, side: int, channels: int) -> Pixels:
        """Pictures [N, C, side, side], scaled as training scales them; all are square."""
        found = []
        for stored in self.table["image"].take(rows).to_pylist():
            image = to_mode(open_image(stored), "L" if channels == 1 else "RGB")
            found.append(crop(resize_to_cover(image, (side, side)), (side, side), 0, 0))
        return np.stack(found)


def _labelled(path: Path) -> pa.Table:
    """A file's columns; categories as numbers where that is what it has."""
    table = pq.read_table(path)
    if "label" not in table.schema.names:
        _, label = np.unique(np.asarray(table["category"].to_pylist()), return_inverse=True)
        table = table.append_column("label", pa.array(label.astype(np.int64)))
    return table.select([*COLUMNS, *(["base"] if "base" in table.schema.names else [])])


def rows_of_run(regime: Regime, pool: Pool, seed: int) -> Ints:
    """The pictures of a run: trained on, held out and watched; another seed has others."""
    rows = pool.free
    if regime.classes:
        rows = rows[np.isin(pool.labels[rows], regime.classes)]
    count = regime.members + regime.held_out + regime.watched
    if len(rows) < count:
        raise ValueError(f"{regime.shown}: {count} pictures are needed, {len(rows)} are there")
    return np.random.default_rng([seed, 1]).permutation(rows)[:count]
