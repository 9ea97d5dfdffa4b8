"""Scores for membership inference: how surely a picture is recognised as a training picture.

Every score is larger the more likely a picture is a member. It depends on the picture, its
caption and the seed alone: not on its place in the set, nor on the batch that it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from memshield.audit.search.distances import Rows
from memshield.families.base import Draw, Encoded, Family, Pictures
from memshield.randomness import Purpose, torch_seed

Scores = npt.NDArray[np.float64]
OnCount = Callable[[int], object]


def loss_scores(
    family: Family,
    pictures: Rows,
    captions: Sequence[str] | None,
    seed: int,
    draws: int = 10,
    progress: OnCount | None = None,
) -> Scores:
    """The denoising-loss attack: members are denoised better (Matsumoto et al., arXiv 2302.03262).

    The loss is averaged over timesteps spread evenly from 0 to T, each with a noise of its own.
    These are the same for all pictures, so that what is drawn does not set pictures apart.

    Args:
        family: the model with the weights as they are.
        pictures: [N, C, H, W] uint8, anything that can be sliced.
        captions: [N] the pictures' own, or None for models without text.
        seed: of the noises.
        draws: pairs of a timestep and a noise.
        progress: called with the number of pictures that are done.

    Returns:
        [N] minus the mean loss.
    """
    levels = [int((j + 0.5) * family.num_slots / draws) for j in range(draws)]

    def score(encoded: Encoded) -> Tensor:
        clean = family.clean(encoded)
        losses = []
        for j, level in enumerate(levels):
            noise = _noise(clean, torch_seed(seed, Purpose.ATTACK, j))
            draw = Draw(clean, noise, _constant(level, clean))
            with family.running():
                losses.append(family.loss(family.predict(encoded, draw), draw).value)
        return -torch.stack(losses).double().mean(dim=0)

    return _scores(family, pictures, captions, score, progress)


def pia_scores(
    family: Family,
    pictures: Rows,
    captions: Sequence[str] | None,
    timestep: int = 200,
    progress: OnCount | None = None,
) -> Scores:
    """The proximal initialization attack (Kong et al. 2023, arXiv 2305.18355): nothing is drawn.

    With epsilon_0 = epsilon(x_0, 0) and x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) epsilon_0 (under
    flow matching (1 - sigma) x_0 + sigma epsilon_0), a member's epsilon(x_t, t) lies near
    epsilon_0.

    Args:
        family, pictures, captions, progress: as in `loss_scores`.
        timestep: t, of 1000; of as large a part of T where T is another.

    Returns:
        [N] minus the fourth power of their distance in the 4-norm.
    """
    level = min(family.num_slots - 1, round(timestep * family.num_slots / 1000))

    def score(encoded: Encoded) -> Tensor:
        clean = family.clean(encoded)
        noise = family.predict_noise(encoded, clean, _constant(0, clean))
        later = _constant(level, clean)
        noisy = family.noised(clean, noise, later)
        difference = family.predict_noise(encoded, noisy, later).double() - noise
        return -difference.pow(4).flatten(1).sum(dim=1)

    return _scores(family, pictures, captions, score, progress)


def prompt_scores(
    family: Family,
    prompts: Sequence[str],
    seed: int,
    steps: int = 50,
    guidance: float = 7.5,
    progress: OnCount | None = None,
) -> Scores:
    """How much a prompt moves the prediction (Wen et al. 2024, ICLR): more, if it was memorized.

    A picture is sampled for each prompt; every step tells ||epsilon(x_t, prompt) -
    epsilon(x_t, "")||_2. All start from the same noise.

    Args:
        family: a text model with the weights as they are.
        prompts: [N] captions of members, or of held-out pictures.
        seed: of the noise.
        steps: of the family's sampler, at most T.
        guidance: scale of classifier-free guidance.
        progress: called with the number of prompts that are done.

    Returns:
        [N] means over the steps.
    """
    side = int(family.config.resolution or 0)
    blank = np.zeros((1, family.facts.channels, side, side), np.uint8)
    one = _encode(family, blank, [""])

    def score(texts: Sequence[str]) -> Tensor:
        count = len(texts)
        # What says nothing of a caption, such as SDXL's sizes, is that of a picture of this size.
        without = {name: value.expand(count, *value.shape[1:]) for name, value in one.items()}
        encoded = without | family.encode_captions(texts)
        noisy = _noise(family.clean(without), torch_seed(seed, Purpose.ATTACK))
        total = torch.zeros(count, dtype=torch.float64, device=noisy.device)
        sampling = family.sampling_steps(steps)
        for timestep in sampling.timesteps:
            free = sampling.predict(without, noisy, timestep)
            moved = sampling.predict(encoded, noisy, timestep) - free
            total += sampling.as_noise(moved, timestep).double().flatten(1).norm(dim=1)
            noisy = sampling.advance(noisy, free + guidance * moved, timestep)
        return total / len(sampling.timesteps)

    found = [
        score(prompts[rows]).cpu().numpy() for rows in _batches(family, len(prompts), progress)
    ]
    return np.concatenate(found)


def _scores(
    family: Family,
    pictures: Rows,
    captions: Sequence[str] | None,
    score: Callable[[Encoded], Tensor],
    progress: OnCount | None,
) -> Scores:
    found = []
    for rows in _batches(family, pictures.shape[0], progress):
        texts = None if captions is None else captions[rows]
        found.append(score(_encode(family, pictures[rows], texts)).cpu().numpy())
    return np.concatenate(found)


def _batches(family: Family, count: int, progress: OnCount | None) -> Iterator[slice]:
    for start in range(0, count, family.at_once()):
        stop = min(start + family.at_once(), count)
        yield slice(start, stop)
        if progress is not None:
            progress(stop)


def _encode(family: Family, pictures: Any, captions: Sequence[str] | None) -> Encoded:
    """Pictures as if they had always had this size, with their captions."""
    pixels = torch.from_numpy(np.ascontiguousarray(pictures))
    corner = torch.zeros(len(pixels), 2, dtype=torch.int64)
    size = torch.tensor(pixels.shape[2:]).expand(len(pixels), 2)
    encoded = family.encode_pictures(Pictures(pixels, size, corner))
    return encoded if captions is None else encoded | family.encode_captions(captions)


def _noise(like: Tensor, seed: int) -> Tensor:
    """The same standard normal noise for every sample of a batch [B, ...], on any device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape[1:], generator=generator).to(like.device).expand(like.shape)


def _constant(level: int, like: Tensor) -> Tensor:
    return torch.full((len(like),), level, dtype=torch.int64, device=like.device)
