"""Which bands of noise levels stop learning from the pictures: those whose held-out loss rises.

Without captions, copies are learned at low to medium noise while quality is still being learned at
high noise, so one stopping time cannot serve all levels. Each band is stopped by itself, as early
stopping stops a whole training. Tensors in, decisions out: nothing here knows a model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from memshield.audit.watch_record import STANDARD_ERRORS

REACH = 2
"""So many of the lowest bands that go on may stop: a lone one that never rises blocks no other."""


class BandStops:
    """Early stopping of every band, by the paired differences of fixed draws.

    A check gives the loss of the same draws of picture, noise and level every time, so that the
    difference to the best check so far has little noise of its own: what is left is how pictures
    differ. A band stops when its mean loss lies above its lowest by more than `gain` of it, and
    by more than two standard errors, in `patience` checks in a row. A level whose loss is merely
    flat goes on.

    Without captions copies come from below, so bands stop from below: only the lowest two that
    still go on may stop, and what lies below a band that stops, stops with it. The highest levels,
    where a converged network has next to no loss, tremble with the learning rate alone; that is no
    memorization, and one of them would otherwise stop in the first checks of a fine-tuning.

    The loss of a network that knows nothing yet may well rise in its first steps: a model that is
    trained from scratch is judged at a level once it does better there than a prediction of
    zeros. Until then it does not count among the two.

    Args:
        pictures: [bands, draws] int64, which picture each draw is of: draws of one picture are
            not independent, so the standard error is taken over pictures.
        patience: checks in a row that stop a band.
        gain: smallest relative change that counts.
        zeros: [bands] mean loss of a prediction of zeros, for a model that is trained from
            scratch; None for a pretrained one, which is judged from its first check on.

    Attributes:
        best: [bands, draws] losses of the check with the lowest mean so far; infinite before.
        raised: [bands] checks in a row with a raised loss.
        stopped: [bands] int64, step at which a band stopped; -1 where it goes on.
        judged: [bands] bool, whether a rise counts.
    """

    def __init__(
        self, pictures: Tensor, patience: int, gain: float, zeros: Tensor | None = None
    ) -> None:
        self._pictures = pictures
        self._patience = patience
        self._gain = gain
        bands = len(pictures)
        self.best = torch.full(pictures.shape, torch.inf, dtype=torch.float64)
        self._zeros = torch.full((bands,), torch.inf) if zeros is None else zeros
        self.judged = torch.zeros(bands, dtype=torch.bool)
        self.raised = torch.zeros(bands, dtype=torch.int64)
        self.stopped = torch.full((bands,), -1, dtype=torch.int64)

    def see(self, losses: Tensor, step: int) -> list[int]:
        """Take in a check; the bands that stop with it.

        Args:
            losses: [bands, draws] float64.
            step: optimizer steps of the whole run so far.
        """
        going = []
        for band in range(len(losses)):
            if self.stopped[band] >= 0:
                continue
            now, best = losses[band], self.best[band]
            if now.mean() < best.mean() or not self.judged[band]:
                self.best[band] = now
                self.raised[band] = 0
                self.judged[band] = now.mean() < self._zeros[band]
            else:
                self.raised[band] = self.raised[band] + 1 if self._has_risen(band, now) else 0
            if self.judged[band]:
                going.append(band)
        raised = [band for band in going[:REACH] if self.raised[band] >= self._patience]
        last = max(raised, default=-1)
        stopping: list[int] = (self.stopped[: last + 1] < 0).nonzero().flatten().tolist()
        self.stopped[stopping] = step
        return stopping

    def _has_risen(self, band: int, now: Tensor) -> bool:
        """Whether a band's loss lies above its best by more than chance."""
        difference = now - self.best[band]
        limit = max(
            self._gain * float(self.best[band].mean()),
            STANDARD_ERRORS * standard_error(difference, self._pictures[band]),
        )
        return float(difference.mean()) > limit

    def state_dict(self) -> dict[str, Tensor]:
        """What decides the next check."""
        return {
            "best": self.best,
            "judged": self.judged,
            "raised": self.raised,
            "stopped": self.stopped,
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict` gave."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])


class LowestLosses:
    """The lowest losses of every band so far, and how surely a check lies above them.

    Args:
        pictures: see `BandStops`.

    Attributes:
        best: [bands, draws] losses of the check with the lowest mean so far; infinite before.
    """

    def __init__(self, pictures: Tensor) -> None:
        self._pictures = pictures
        self.best = torch.full(pictures.shape, torch.inf, dtype=torch.float64)

    def see(self, losses: Tensor) -> list[float]:
        """Take in a check.

        Args:
            losses: [bands, draws] float64.

        Returns:
            [bands] standard errors of the paired differences to the lowest check before, 0 where
            this one is the lowest.
        """
        errors = []
        for band, now in enumerate(losses):
            if now.mean() < self.best[band].mean():
                self.best[band] = now
            difference = now - self.best[band]
            errors.append(
                standard_error(difference, self._pictures[band]) if difference.any() else 0.0
            )
        return errors

    def state_dict(self) -> dict[str, Tensor]:
        """What the next check is compared with."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict` gave; nothing of versions that kept none."""
        if state:
            self.best.copy_(state["best"])


def standard_error(values: Tensor, clusters: Tensor) -> float:
    """Standard error of a mean whose values come in clusters (Liang and Zeger 1986).

    Args:
        values: [N] float64.
        clusters: [N] int64, the cluster of each value.

    Returns:
        sqrt(P / (P - 1) sum_p (sum_{i in p} (v_i - mean))^2) / N over the P clusters; infinite
        for a single one, which says nothing of others.
    """
    names, place = clusters.unique(return_inverse=True)
    count = len(names)
    if count < 2:
        return float("inf")
    sums = torch.zeros(count, dtype=torch.float64)
    sums.index_add_(0, place, values.double() - values.double().mean())
    return float((sums.square().sum() * count / (count - 1)).sqrt()) / len(values)
