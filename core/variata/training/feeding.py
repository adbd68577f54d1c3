"""The batches of training. Which examples a step sees is a function of (seed, step) alone, so the position in the data
is one number, and each process takes a part of each batch that no other has."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..data import Batch, Rows, Split, on_device
from ..errors import ConfigError, DataError, Problem
from ..processes import World

_ORDER_STRIDE = 1_000_003
_WORKERS = 2
_STREAM = 1 << 34


class Feed:
    """The batches of a process, from any step on.

    Args:
        batch_size: over all processes.
        workers: processes that read what is not in memory; None takes two for it.
    """

    def __init__(
        self, split: Split, batch_size: int, seed: int, where: World, device: torch.device, workers: int | None = None
    ) -> None:
        if not len(split):
            raise DataError("there is no training example")
        self.split, self.seed, self.where, self.device = split, seed, where, device
        self.size = min(batch_size, len(split))
        self.steps_per_epoch = math.ceil(len(split) / self.size)
        self.workers = (_workers() if isinstance(split.x, Rows) else 0) if workers is None else workers
        self._order = lru_cache(maxsize=1)(self._order_of_epoch)

    @property
    def smallest(self) -> int:
        """Examples of the smallest batch, the last one of an epoch."""
        return len(self.split) % self.size or self.size

    def index(self, step: int) -> Tensor:
        """The rows of a step's batch, over all processes."""
        epoch, number = divmod(step, self.steps_per_epoch)
        return self._order(epoch)[number]

    def batch(self, step: int) -> tuple[Batch, int, int]:
        """This process's part of a batch, how many of its examples count, and how many there are over all processes.
        Where nothing is left for this process, it gets an example that does not count."""
        index = self.index(step)
        part = self.where.part(index)
        return self.split.batch(part if len(part) else index[:1]), len(part), len(index)

    def batches(self, start: int, end: int) -> Iterator[tuple[Batch, int, int]]:
        """What `batch` gives for each step from `start` to before `end`, on the device."""
        source = (self.batch(step) for step in range(start, end)) if not self.workers else self._read(start, end)
        for batch, share, of in source:
            yield on_device(batch, self.device), share, of

    def _read(self, start: int, end: int) -> Iterator[tuple[Batch, int, int]]:
        """The same, read ahead by workers. Their draws are seeded by the step, whichever worker takes it."""
        try:
            yield from DataLoader(
                _Reading(self),
                batch_size=None,
                sampler=range(start, end),
                num_workers=self.workers,
                prefetch_factor=2,
                pin_memory=self.device.type == "cuda",
                collate_fn=_as_it_is,
                generator=torch.Generator(),  # else it would draw a seed from training's own
                multiprocessing_context="forkserver",
            )
        except (AttributeError, TypeError) as error:
            if "pickle" not in str(error):
                raise
            message = f"the data cannot be handed to other processes ({error}): set train.workers=0"
            raise ConfigError(Problem(message, "train.workers")) from error

    def _order_of_epoch(self, epoch: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(self.seed * _ORDER_STRIDE + epoch)
        return self.split.order(generator).split(self.size)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_order"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._order = lru_cache(maxsize=1)(self._order_of_epoch)


def _workers() -> int:
    """Two, where the machine has as many cores for them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_WORKERS, cores)


class _Reading(Dataset[tuple[Batch, int, int]]):
    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    def __getitem__(self, step: int) -> tuple[Batch, int, int]:
        feed = self.feed
        torch.manual_seed(_STREAM + (feed.seed * _ORDER_STRIDE + step) * feed.where.size + feed.where.rank)
        return feed.batch(step)


def _as_it_is(batch: Any) -> Any:
    return batch
