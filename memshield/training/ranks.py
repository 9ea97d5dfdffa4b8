"""The processes of one run: which shards are whose, and where the processes meet.

Each rank trains whole shards of its own and sends nothing while it does. All waiting goes
through a gloo group that has no time limit of its own, because a rank may wait for another one's
longer shard; it is polled, so that signals are heard and a rank that is lost ends the wait.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memshield.training.interruption import StopRequest

if TYPE_CHECKING:
    import torch

STOP_SECONDS = 20.0
"""How long a stopping rank waits for the others; launchers kill 30 s after they ask."""
_LOOK_SECONDS = 1.0
_FIRST_POLL_SECONDS, _LAST_POLL_SECONDS = 0.0001, 0.005
_BUCKET_NUMBERS = 2**24


class RankLostError(RuntimeError):
    """Another process of this run died, or did not come to a meeting in time."""

    def __init__(self) -> None:
        super().__init__("another process of this run was lost")


class Ranks:
    """This process among those of its run; a single process meets only itself.

    Args:
        stop: ends a wait some seconds after a stop was asked for.

    Attributes:
        rank: of this process, from 0.
        count: number of processes W.
    """

    def __init__(self, stop: StopRequest) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self._stop = stop
        self._stop_file: Path | None = None
        self._last_look = float("-inf")
        self._told = False
        self._group: Any = None
        self._gave_up = False

    @property
    def is_first(self) -> bool:
        """Whether this rank writes what is written once."""
        return self.rank == 0

    def connect(self) -> None:
        """Meet the other processes for the first time; imports torch."""
        if self.count == 1:
            return
        import torch
        import torch.distributed as dist
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available())
        self._group = dist.new_group(backend="gloo", timeout=timedelta(days=365))

    def close(self) -> None:
        """Leave the others; every rank does so at the end of a run.

        One that gave up waiting leaves the note of the stop for those that have not read it, and
        the group as it is: to leave it would be to wait for them.
        """
        if self._gave_up:
            return
        if self._stop_file is not None and self.is_first:
            self._stop_file.unlink(missing_ok=True)
        if self._group is not None:
            import torch.distributed as dist

            self._group = None
            if dist.is_initialized():
                dist.destroy_process_group()

    def own(self, shards: int) -> range:
        """Numbers of the shards that this rank trains: shard k is on rank k mod W."""
        return range(self.rank, shards, self.count)

    # Stopping together

    def share_stops(self, file: Path) -> None:
        """Use a file in the run directory to tell the other ranks of a stop.

        A launcher passes SIGTERM on to all ranks, but a person may send it to one.
        """
        if self.count > 1:
            if self.is_first:
                file.unlink(missing_ok=True)
            self.barrier()
            self._stop_file = file

    def stop_wanted(self) -> bool:
        """Whether any rank was asked to stop.

        A stop that this rank was asked for is told to the others at once: it may give up waiting
        for them before it looks again. Theirs is looked for once a second.
        """
        if self._stop_file is not None:
            now = time.monotonic()
            if self._stop.requested:
                if not self._told:
                    self._stop_file.touch()
                    self._told = True
            elif now - self._last_look > _LOOK_SECONDS:
                self._last_look = now
                if self._stop_file.exists():
                    self._stop.note()
        return self._stop.requested

    # Meeting

    def gather(self, value: Any) -> list[Any]:
        """A JSON value of every rank, in the order of ranks.

        Raises:
            RankLostError: a rank died, or did not come within 20 s of a signal to stop.
        """
        if self.count == 1:
            return [value]
        import torch
        import torch.distributed as dist

        text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        mine = torch.tensor([len(text)])
        self._wait(dist.all_gather(sizes, mine, group=self._group, async_op=True))
        longest = max(int(size) for size in sizes)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(text)] = text
        found = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.count)]
        self._wait(dist.all_gather(found, padded, group=self._group, async_op=True))
        return [
            json.loads(bytes(data[: int(size)].tolist()))
            for data, size in zip(found, sizes, strict=True)
        ]

    def share(self, value: Any = None) -> Any:
        """Rank 0's JSON value, on every rank."""
        return self.gather(value)[0]

    def barrier(self) -> None:
        """Go on when every rank is here."""
        self.gather(None)

    # Tensors

    def sum(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace host tensors, the same on every rank in shape and order, by their sums."""
        if self.count == 1:
            return
        import torch
        import torch.distributed as dist

        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            self._wait(dist.all_reduce(flat, group=self._group, async_op=True))
            for tensor, part in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                tensor.copy_(part.view(tensor.shape))

    def to_first(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Host tensors of every rank, of one shape, on rank 0; nothing on the others."""
        import torch
        import torch.distributed as dist

        found = [torch.empty_like(tensor) for _ in range(self.count)] if self.is_first else None
        self._wait(dist.gather(tensor, found, 0, group=self._group, async_op=True))
        return found or []

    def from_first(self, tensor: torch.Tensor) -> None:
        """Replace a host tensor by rank 0's."""
        import torch.distributed as dist

        self._wait(dist.broadcast(tensor, 0, group=self._group, async_op=True))

    def _wait(self, work: Any) -> None:
        deadline = None
        pause = _FIRST_POLL_SECONDS
        try:
            while not work.is_completed():
                if deadline is None and self.stop_wanted() and self._stop.is_urgent:
                    deadline = time.monotonic() + STOP_SECONDS
                if deadline is not None and time.monotonic() > deadline:
                    self._gave_up = True
                    raise RankLostError
                time.sleep(pause)
                pause = min(2 * pause, _LAST_POLL_SECONDS)
            work.wait()
        except RankLostError:
            raise
        except RuntimeError as error:
            # gloo's own words name addresses, and no cause that a user could mend.
            raise RankLostError from error


def _buckets(tensors: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Tensors in runs of one dtype, so that a message is not mostly its latency."""
    bucket: list[torch.Tensor] = []
    numbers = 0
    for tensor in tensors:
        fits = not bucket or (
            numbers + tensor.numel() <= _BUCKET_NUMBERS and tensor.dtype == bucket[0].dtype
        )
        if not fits:
            yield bucket
            bucket, numbers = [], 0
        bucket.append(tensor)
        numbers += tensor.numel()
    if bucket:
        yield bucket
