"""Anti-gradient control: skip the samples that the model already knows too well.

Liu et al., "Iterative Ensemble Training with Anti-Gradient Control", arXiv 2407.15328, section 3.3.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class LossBank:
    """A running mean of the loss at every noise level, and the mask that follows from it.

    Everything stays on the device: nothing here waits for it.

    Args:
        num_slots: noise levels a sample can have (T).
        bins: slots of the bank; level t falls into bin t * bins // num_slots. The paper has
            one a level; fewer fill sooner in a short run.
        decay: gamma of the running mean (the paper's 0.8).
        debias: divide by 1 - gamma^hits when reading, as Adam does, since the bank starts at
            zero. Not in the paper.
        device: where the losses are.
    """

    def __init__(
        self,
        num_slots: int,
        bins: int | None = None,
        decay: float = 0.8,
        debias: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.num_slots = num_slots
        self.bins = bins or num_slots
        self.decay = decay
        self.debias = debias
        self.mean = torch.zeros(self.bins, device=device)
        self.hits = torch.zeros(self.bins, device=device)

    def keep(self, losses: Tensor, slots: Tensor, threshold: float) -> Tensor:
        """Which samples are trained on: those with loss >= threshold * mean of their level.

        Args:
            losses: [B] unweighted losses.
            slots: [B] int64 noise levels.
            threshold: lambda; 0 keeps all.

        Returns:
            [B] bool. Read before `update` is called with the same batch.
        """
        return keep_mask(losses, self.read(slots), threshold)

    def read(self, slots: Tensor) -> Tensor:
        """The bank's loss [B] at these noise levels, 0 where none was seen yet."""
        bins = self._bin(slots)
        mean = self.mean[bins]
        if self.debias:
            # Never hit: 0 / 0 would be NaN, and NaN would skip the sample.
            mean = mean / (1.0 - self.decay ** self.hits[bins]).clamp(min=1e-12)
        return mean

    def update(self, losses: Tensor, slots: Tensor) -> None:
        """Take in a batch, skipped samples too, one after the other.

        Args:
            losses: [B] unweighted losses.
            slots: [B] int64 noise levels.
        """
        losses = losses.detach().to(self.mean.dtype)
        bins = self._bin(slots)
        if self.mean.is_cpu:
            mean, hits = self.mean.numpy(), self.hits.numpy()
            for place, loss in zip(bins.tolist(), losses.tolist(), strict=True):
                mean[place] = self.decay * mean[place] + (1.0 - self.decay) * loss
                hits[place] += 1
            return
        self._update_at_once(losses, bins)

    def _update_at_once(self, losses: Tensor, bins: Tensor) -> None:
        """The same on any device, without waiting for it.

        n hits of one slot with losses l_0 .. l_{n-1}, in batch order, close to
        gamma^n m + (1 - gamma) sum_j gamma^(n-1-j) l_j. The sums are rows of a [B, B] product,
        so that every hit of a slot computes, and writes, the same value: no atomic additions,
        hence the same bits every time.
        """
        same = (bins[:, None] == bins[None, :]).to(losses.dtype)
        count = same.sum(dim=1)
        later = same.triu(diagonal=1).sum(dim=1)
        faded = self.decay**count * self.mean[bins]
        added = torch.mv(same, self.decay**later * losses)
        self.mean.index_copy_(0, bins, faded.add_(added, alpha=1.0 - self.decay))
        self.hits.index_copy_(0, bins, self.hits[bins] + count)

    def _bin(self, slots: Tensor) -> Tensor:
        return slots if self.bins == self.num_slots else slots * self.bins // self.num_slots

    def state_dict(self) -> dict[str, Tensor]:
        """The bank's tensors."""
        return {"mean": self.mean, "hits": self.hits}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict` gave."""
        self.mean.copy_(state["mean"])
        self.hits.copy_(state["hits"])


class HeldOutBank:
    """The held-out loss of every noise level, and the mask that follows from it. Not in the paper.

    The paper's bank holds a sample against what the model's loss on its own training pictures
    has been: where all of them are memorized, it skips none. Held-out pictures say what a loss
    is that owes nothing to memory: a sample far below it is known by heart.

    Between two checks the held-out loss falls, too, by far more than 1 - lambda early in a training
    from scratch: against that of the last check alone, all that is learned would seem to be known
    by heart. A sample is held against what that loss comes to at the next check if it falls on as
    it fell before this one. Up to the second check nothing is skipped.

    Args:
        num_slots: noise levels a sample can have (T).
        device: where the losses of a step are.
    """

    KNOT = 32
    """Draws that are averaged to one point of the curve."""

    def __init__(self, num_slots: int, device: torch.device | str = "cpu") -> None:
        self.curve = torch.zeros(num_slots, device=device)
        self.table = torch.zeros(num_slots, device=device)

    def learn(self, losses: Tensor, slots: Tensor) -> None:
        """Take the held-out losses of a check: means of neighbouring draws, joined by lines.

        Args:
            losses: [N] held-out losses.
            slots: [N] int64 noise levels.
        """
        order = slots.argsort(stable=True)
        places = slots[order].double().split(self.KNOT)
        values = losses[order].double().split(self.KNOT)
        curve = np.interp(
            np.arange(len(self.table)),
            [float(part.mean()) for part in places],
            [float(part.mean()) for part in values],
        )
        before = self.curve.clone()
        self.curve.copy_(torch.from_numpy(curve))
        # A loss that rises is no better measure of what was learned than it is itself.
        fall = (self.curve / before).clamp(max=1.0).where(before > 0, 0.0)
        torch.mul(self.curve, fall, out=self.table)

    def keep(self, losses: Tensor, slots: Tensor, threshold: float) -> Tensor:
        """Which samples are trained on: those with loss >= threshold * what is expected held out.

        Args:
            losses: [B] unweighted losses.
            slots: [B] int64 noise levels.
            threshold: lambda; 0 keeps all.

        Returns:
            [B] bool.
        """
        return keep_mask(losses, self.table[slots], threshold)

    def state_dict(self) -> dict[str, Tensor]:
        """The curve of the last check, and what is expected at the next one."""
        return {"curve": self.curve, "table": self.table}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict` gave; of earlier versions, the curve alone as `table`."""
        self.table.copy_(state["table"])
        self.curve.copy_(state.get("curve", state["table"]))


def keep_mask(losses: Tensor, reference: Tensor, threshold: float) -> Tensor:
    """keep_i = l_i >= lambda m_i, [B] bool (arXiv 2407.15328, section 3.3)."""
    return losses.detach() >= threshold * reference


def masked_mean(losses: Tensor, weights: Tensor, keep: Tensor, divisor: Tensor | float) -> Tensor:
    """sum_i keep_i w_i l_i / divisor: the loss that is differentiated.

    Args:
        losses: [B] losses with a graph.
        weights: [B] factors of the gradient.
        keep: [B] bool.
        divisor: how many samples were kept, at least 1.
    """
    # where, not a product: a skipped sample contributes nothing, even if it overflowed.
    return torch.where(keep, losses * weights, 0.0).sum() / divisor
