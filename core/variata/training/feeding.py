"""The batches of training. Which examples a step sees is a function of (seed, step) alone, so the position in the data
is one number, and each process takes a part of each batch that no other has.

Where a few examples are labelled, hardly any batch would hold one. So labelled examples stand before the others in each
batch, from passes over all of them, each in an order of its own; and the others count as unlabelled, whichever they
are, so that every batch has as many of both kinds (Rasmus et al., 2015, arXiv:1507.02672).
"""

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
from ..labels import UNKNOWN
from ..processes import World

_ORDER_STRIDE = 1_000_003
_WORKERS = 2
_STREAM = 1 << 34
_LABELLED_STREAM = 1 << 60


class Feed:
    """The batches of a process, from any step on.

    Args:
        batch_size: over all processes.
        workers: processes that read what is not in memory; None takes two for it.
        labelled: how many labelled examples stand before those of each batch, over all processes.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int,
        where: World,
        device: torch.device,
        workers: int | None = None,
        labelled: int = 0,
    ) -> None:
        if not len(split):
            raise DataError("there is no training example")
        self.split, self.seed, self.where, self.device = split, seed, where, device
        self.labelled, self._labelled_rows = labelled, split.labelled_rows() if labelled else torch.empty(0)
        self.size = min(batch_size, len(split))
        self.steps_per_epoch = math.ceil(len(split) / self.size)
        self.workers = (_workers() if isinstance(split.x, Rows) else 0) if workers is None else workers
        self._order = lru_cache(maxsize=1)(self._order_of_epoch)

    @property
    def smallest(self) -> int:
        """Examples of the smallest batch, the last one of an epoch."""
        return self.labelled + (len(self.split) % self.size or self.size)

    def index(self, step: int) -> Tensor:
        """The rows of a step's batch, over all processes, without the labelled ones that stand before them."""
        epoch, number = divmod(step, self.steps_per_epoch)
        return self._order(epoch)[number]

    def labelled_index(self, step: int) -> Tensor:
        """The labelled rows that stand before a step's batch, over all processes."""
        start, rows = step * self.labelled, self._labelled_rows
        first, last = start // len(rows), (start + self.labelled - 1) // len(rows)
        passes = [rows[torch.randperm(len(rows), generator=self._generator(n))] for n in range(first, last + 1)]
        return torch.cat(passes)[start - first * len(rows) :][: self.labelled]

    def batch(self, step: int) -> tuple[Batch, int, int]:
        """This process's part of a batch, how many of its examples count, and how many there are over all processes.
        Where nothing is left for this process, it gets an example that does not count."""
        index = self.index(step)
        part, size = self.where.part(index), len(index) + self.labelled
        if not self.labelled:
            return self.split.batch(part if len(part) else index[:1]), len(part), size
        labelled = self.where.part(self.labelled_index(step))
        share = len(labelled) + len(part)
        batch = self.split.batch(torch.cat([labelled, part]) if share else index[:1])
        return _known_first(batch, len(labelled)), share, size

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
        return self.split.order(generator, self.size).split(self.size)

    def _generator(self, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(_LABELLED_STREAM + self.seed * _ORDER_STRIDE + number)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_order"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._order = lru_cache(maxsize=1)(self._order_of_epoch)


def _known_first(batch: Batch, known: int) -> Batch:
    """The batch, of which only the labels of the first examples are known."""
    assert batch.y is not None
    labelled = torch.arange(len(batch), device=batch.y.device) < known
    return Batch(batch.x, torch.where(labelled, batch.y, UNKNOWN), batch.index, labelled)


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
