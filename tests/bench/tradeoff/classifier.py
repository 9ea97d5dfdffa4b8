"""A feature space that sees more than coarse structure: a small classifier of the same pictures.

It is trained on reserved pictures, which no run trains on or holds out, once for each dataset; and
kept beside this file, because another machine's arithmetic gives another one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from memshield.audit.images import Pixels
from tests.bench.tradeoff.regimes import Pool, Regime

FEATURES = 64
KEPT = Path(__file__).parent / "classifiers"
_EPOCHS, _BATCH = 20, 64


class Classifier(nn.Module):
    """Three convolutions, a hidden layer of `FEATURES`, and classes."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, side: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(64 * (side // 4) ** 2, FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(FEATURES, classes)
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("deviation", torch.ones(FEATURES))

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, C, H, W] in [-1, 1] to logits."""
        found: Tensor = self.head(self.body(pixels))
        return found

    @torch.no_grad()
    def features(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """[N, FEATURES], of unit variance over the pictures that it was trained on."""
        self.eval()
        parts = [self.body(part) for part in _scaled(pixels).split(500)]
        found: npt.NDArray[np.float32] = (
            ((torch.cat(parts) - self.mean) / self.deviation).float().numpy()
        )
        return found

    @torch.no_grad()
    def accuracy(self, pixels: Pixels, labels: npt.NDArray[np.int64]) -> float:
        """Share of pictures that it names right."""
        self.eval()
        right = self(_scaled(pixels)).argmax(dim=1) == torch.from_numpy(labels)
        return float(right.double().mean())


def _scaled(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels).float() / 127.5 - 1


def classifier_of(regime: Regime, pool: Pool, work: Path) -> Classifier:
    """A regime's classifier: the one that is kept, that of the work folder, or a new one."""
    classes = int(pool.labels.max()) + 1
    torch.manual_seed(0)
    made = Classifier(regime.channels, regime.resolution, classes)
    name = f"classifier-{regime.dataset.split('.')[0]}-{regime.resolution}.safetensors"
    path = work / name
    for known in (KEPT / name, path):
        if known.is_file():
            made.load_state_dict(load_file(known))
            return made
    pixels = pool.pixels(pool.reserved, regime.resolution, regime.channels)
    labels = torch.from_numpy(pool.labels[pool.reserved].copy())
    inputs = _scaled(pixels)
    optimizer = torch.optim.AdamW(made.parameters(), 2e-3, weight_decay=1e-2)
    steps = _EPOCHS * len(inputs) // _BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    made.train()
    for _ in range(steps):
        chosen = torch.randint(0, len(inputs), (_BATCH,))
        F.cross_entropy(made(inputs[chosen]), labels[chosen]).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    found = torch.from_numpy(made.features(pixels))
    made.mean.copy_(found.mean(dim=0))
    made.deviation.copy_(found.std(dim=0).clamp(min=1e-3))
    aside = path.with_suffix(".tmp")
    save_file(made.state_dict(), aside)
    aside.replace(path)
    return made
