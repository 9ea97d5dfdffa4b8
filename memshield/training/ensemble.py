"""Iterative ensemble training: the mean of the proxies.

Liu et al., arXiv 2407.15328, section 3.2. Proxies arrive one at a time and are added to a
running sum in host memory, so that a device holds one trainable copy, whatever K is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from memshield.config.file import Config
from memshield.families.lora import pairs
from memshield.training.checkpoint import Checkpoint, CheckpointFile, RankPosition, stream
from memshield.training.ranks import Ranks

State = dict[str, Tensor]


def shard_weights(sizes: Sequence[int], kind: str) -> list[float]:
    """Weight of every shard in the mean: n_k / N for `size`, 1 / K for `uniform`."""
    if kind == "uniform":
        return [1.0 / len(sizes)] * len(sizes)
    return [size / sum(sizes) for size in sizes]


class Mean(ABC):
    """A mean of proxies that is filled in shard order and can be saved half-way."""

    @abstractmethod
    def add(self, proxy: State, weight: float) -> None:
        """Take in the next proxy; its tensors may be overwritten afterwards."""

    @abstractmethod
    def over(self, ranks: Ranks, weights: Sequence[float], like: State) -> State:
        """The mean of what all ranks added; every rank calls this and gets the same.

        Args:
            ranks: the processes of the run.
            weights: [K] of all shards.
            like: tensors of a proxy's shapes, for a rank that added none.
        """

    @abstractmethod
    def clear(self) -> None:
        """Start the mean of another round."""

    def figures(self) -> dict[str, float]:
        """What is told of the last mean at a round's end."""
        return {}

    @abstractmethod
    def state_dict(self) -> State:
        """Tensors to save; empty before the first proxy."""

    @abstractmethod
    def load_state_dict(self, state: State) -> None:
        """Go on from what was saved."""

    def parts(self, at: RankPosition) -> dict[str, CheckpointFile]:
        """The proxies added so far, which are this rank's."""
        if at.place is None or not self.state_dict():
            return {}
        version = f"mean-{at.round}-{at.rank}-{at.place.turn}"
        return {f"mean-{at.rank}": CheckpointFile(version, lambda: (self.state_dict(), {}))}

    def load(self, checkpoint: Checkpoint, at: RankPosition) -> None:
        """Go on from the proxies that this rank had added."""
        if checkpoint.has(f"mean-{at.rank}"):
            self.load_state_dict(dict(stream(checkpoint.path(f"mean-{at.rank}"))))


class WeightedMean(Mean):
    """theta = sum_k w_k theta_k, streamed.

    The sum is in host memory: a device holds the one trainable copy, whatever K is.
    """

    def __init__(self) -> None:
        self._sum: State = {}

    def add(self, proxy: State, weight: float) -> None:
        """Add w_k theta_k to the running sum, in float32 or wider."""
        with torch.no_grad():
            for name, tensor in proxy.items():
                # One tensor at a time crosses over, not a copy of them all.
                here = tensor.detach().to("cpu")
                # theta = sum_k (n_k / N) theta_k: arXiv 2407.15328, equation 4.
                if name in self._sum:
                    self._sum[name].add_(here, alpha=weight)
                else:
                    self._sum[name] = here * weight

    def over(self, ranks: Ranks, weights: Sequence[float], like: State) -> State:
        """The sum over all ranks; the weights add up to one."""
        # In the order of `like`: ranks send what they have one after the other, and a sum that was
        # read from a file has another order than one that was begun here.
        total = {
            name: self._sum[name] if self._sum else torch.zeros_like(tensor, device="cpu")
            for name, tensor in like.items()
        }
        ranks.sum(total.values())
        return total

    def clear(self) -> None:
        """Start from zero."""
        self._sum = {}

    def state_dict(self) -> State:
        """The running sum."""
        return self._sum

    def load_state_dict(self, state: State) -> None:
        """Go on from a running sum."""
        self._sum = dict(state)


class LowRankMean(Mean):
    """The best rank-r approximation of sum_k w_k B_k A_k over the LoRA pairs of the proxies.

    Averaging the As and the Bs apart is not averaging their products. Factors are small: they
    are gathered in the host memory of rank 0 and combined when all are there.

    Attributes:
        energy_dropped: largest share of squared singular values lost in a pair, on rank 0.
    """

    def __init__(self) -> None:
        self._proxies: list[State] = []
        self.energy_dropped = 0.0

    def add(self, proxy: State, weight: float) -> None:
        """Keep a copy of a proxy's factors; weights are needed in the end only."""
        self._proxies.append({name: t.detach().to("cpu", copy=True) for name, t in proxy.items()})

    def over(self, ranks: Ranks, weights: Sequence[float], like: State) -> State:
        """Mean factors of every pair, from the proxies in shard order."""
        if ranks.count == 1:
            return self._combine(self._proxies, weights)
        blank = {name: torch.zeros_like(tensor, device="cpu") for name, tensor in like.items()}
        # Every rank sends as many as the one with the most has; shard k is rank k mod W's.
        most = -(-len(weights) // ranks.count)
        padded = [*self._proxies, *[blank] * (most - len(self._proxies))]
        found = ranks.to_first(torch.stack([_flatten(proxy, blank) for proxy in padded]))
        mean = blank
        if ranks.is_first:
            proxies = [
                _unflatten(found[k % ranks.count][k // ranks.count], blank)
                for k in range(len(weights))
            ]
            mean = self._combine(proxies, weights)
        flat = _flatten(mean, blank)
        ranks.from_first(flat)
        return _unflatten(flat, blank)

    def _combine(self, proxies: Sequence[State], weights: Sequence[float]) -> State:
        mean: State = {}
        self.energy_dropped = 0.0
        for down, up in pairs(list(proxies[0])):
            mean[down], mean[up], dropped = low_rank_mean(
                [proxy[down] for proxy in proxies], [proxy[up] for proxy in proxies], weights
            )
            self.energy_dropped = max(self.energy_dropped, dropped)
        return {name: mean[name] for name in proxies[0]}

    def figures(self) -> dict[str, float]:
        """The energy that was dropped."""
        return {"energy_dropped": self.energy_dropped}

    def clear(self) -> None:
        """Let go of the proxies; `energy_dropped` stays that of the last mean."""
        self._proxies = []

    def state_dict(self) -> State:
        """All factors gathered so far."""
        return {
            f"{i}/{name}": tensor
            for i, proxy in enumerate(self._proxies)
            for name, tensor in proxy.items()
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from gathered factors."""
        proxies: dict[int, State] = {}
        for key, tensor in state.items():
            place, _, name = key.partition("/")
            proxies.setdefault(int(place), {})[name] = tensor
        self._proxies = [proxies[place] for place in sorted(proxies)]


def make_mean(config: Config) -> Mean:
    """An empty mean of what is trained."""
    if config.training == "lora":
        return LowRankMean()
    return WeightedMean()


def _flatten(state: State, like: State) -> Tensor:
    # In the order of `like`: one that was read from a file has another.
    return torch.cat([state[name].flatten() for name in like])


def _unflatten(flat: Tensor, like: State) -> State:
    parts = flat.split([tensor.numel() for tensor in like.values()])
    return {
        name: part.reshape(tensor.shape)
        for (name, tensor), part in zip(like.items(), parts, strict=True)
    }


def low_rank_mean(
    downs: Sequence[Tensor], ups: Sequence[Tensor], weights: Sequence[float]
) -> tuple[Tensor, Tensor, float]:
    """The rank-r matrix nearest to sum_k w_k B_k A_k in the Frobenius norm (Eckart-Young).

    The mean is B A with B = [w_1 B_1 .. w_K B_K] and A = [A_1; ..; A_K]. With B = Q_b R_b and
    A^T = Q_a R_a, its singular values are those of the small core R_b R_a^T: no [out, in]
    matrix is formed.

    Args:
        downs: K matrices A_k [r, in].
        ups: K matrices B_k [out, r].
        weights: K weights.

    Returns:
        A [r, in] with orthogonal rows of the mean size that the A_k had, so that training goes
        on at the pace it had; B [out, r], which carries the singular values; both in the dtype
        of the input; and the share of squared singular values that was dropped.
    """
    rank, dtype = downs[0].shape[0], downs[0].dtype
    stacked_up = torch.cat([w * up.double() for w, up in zip(weights, ups, strict=True)], dim=1)
    stacked_down = torch.cat([down.double() for down in downs], dim=0)
    basis_up, core_up = torch.linalg.qr(stacked_up)
    basis_down, core_down = torch.linalg.qr(stacked_down.T)
    left, values, right = torch.linalg.svd(core_up @ core_down.T, full_matrices=False)
    energy = values.square()
    total = float(energy.sum())
    dropped = float(energy[rank:].sum()) / total if total > 0 else 0.0
    # A layer smaller than the rank has fewer singular values: pad to keep the shapes. The rows
    # that are left have the size of all, or A would shrink with every mean, and B grow.
    kept = min(rank, len(values))
    scale = sum(float(down.double().norm()) for down in downs) / len(downs) / kept**0.5
    up = torch.zeros(ups[0].shape, dtype=torch.float64)
    down = torch.zeros(downs[0].shape, dtype=torch.float64)
    up[:, :kept] = (basis_up @ left[:, :kept]) * (values[:kept] / scale)
    down[:kept] = (right[:kept] @ basis_down.T) * scale
    return down.to(dtype), up.to(dtype), dropped
