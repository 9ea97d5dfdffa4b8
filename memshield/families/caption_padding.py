"""Captions that keep their own lengths: side by side in a batch, one after the other on disk."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from memshield.families.base import Encoded

LENGTHS = "lengths"
"""The tensor [B] that `end_to_end` gives instead of a mask."""


def filled_up(texts: Sequence[Tensor]) -> Encoded:
    """Captions side by side.

    Args:
        texts: [tokens, ...] of each.

    Returns:
        "text" [B, longest, ...] with zeros behind each caption, and its "mask" [B, longest] bool.
    """
    text = pad_sequence(list(texts), batch_first=True)
    mask = torch.ones(text.shape[:2], dtype=torch.bool, device=text.device)
    for row, one in enumerate(texts):
        if len(one) < text.shape[1]:
            mask[row, len(one) :] = False
    return {"text": text, "mask": mask}


def end_to_end(encoded: Encoded) -> Encoded:
    """Encodings as they are stored: without what fills captions up.

    Returns:
        "text" [tokens of all captions, ...] and `LENGTHS`; without a "mask", what was given.
    """
    if "mask" not in encoded:
        return encoded
    mask = encoded["mask"].bool()
    others = {name: value for name, value in encoded.items() if name != "mask"}
    return {**others, "text": encoded["text"][mask], LENGTHS: mask.sum(dim=1)}
