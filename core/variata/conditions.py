"""Conditions y of a model: what training had, to draw from and to hold what is asked for against."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .data import Batch, Shape
from .errors import ConfigError, NotPrepared, Problem, VariataWarning
from .interfaces import Prepares


class LabelFrequencies(nn.Module, Prepares):
    """How often each class occurred in training; a conditional model draws its conditions from it."""

    counts: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.int64))
        self._warned = False

    def prepare(self, stream: Iterable[Batch]) -> None:
        self.counts.zero_()
        for batch in stream:
            assert batch.y is not None
            self.counts += torch.bincount(batch.y.cpu(), minlength=len(self.counts)).to(self.counts.device)

    def draw(self, n: int) -> Tensor:
        """n labels, `[n]`, from the training frequencies.

        Raises:
            NotPrepared: the frequencies are not known.
        """
        if not self.counts.any():
            raise NotPrepared(
                "the class frequencies are not known yet: call variata.prepare(model, data), or give labels"
            )
        return torch.multinomial(self.counts.double(), n, replacement=True)

    def check(self, y: Tensor) -> None:
        """Refuses labels that never occurred in training.

        Raises:
            ConfigError: naming the first such label.
        """
        if unseen := self._unseen(y):
            known = self.counts.nonzero().flatten().tolist()
            message = f"class {unseen[0]} never occurred in the training set (classes: {known})"
            raise ConfigError(Problem(message, "condition"))

    def warn(self, y: Tensor) -> None:
        """Says so, once, where examples have labels that never occurred in training."""
        if not self._warned and (unseen := self._unseen(y)):
            self._warned = True
            what = f"classes {unseen} never occurred in the training set: what is said given them means nothing"
            warnings.warn(what, VariataWarning, stacklevel=2)

    def _unseen(self, y: Tensor) -> list[int]:
        if not self.counts.any():
            return []
        inside = (y >= 0) & (y < len(self.counts))
        return y[~inside | (self.counts[torch.where(inside, y, 0)] == 0)].unique().tolist()


class ConditionVectors(nn.Module, Prepares):
    """Some of the vectors that training had, for a conditional model to draw its conditions from."""

    vectors: Tensor
    known: Tensor
    KEPT = 1000

    def __init__(self, condition: Shape) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(self.KEPT, *condition))
        self.register_buffer("known", torch.zeros((), dtype=torch.int64))

    def prepare(self, stream: Iterable[Batch]) -> None:
        rows = torch.cat([batch.y for batch in stream if batch.y is not None]).reshape(-1, *self.vectors.shape[1:])
        kept = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[: self.KEPT]
        self.vectors[: len(kept)] = rows[kept.to(rows.device)]
        self.known.fill_(len(kept))

    def draw(self, n: int) -> Tensor:
        """n vectors of the training set, `[n, *condition]`.

        Raises:
            NotPrepared: none is known.
        """
        if not self.known:
            raise NotPrepared("no condition is known yet: call variata.prepare(model, data), or give them")
        return self.vectors[torch.randint(int(self.known), (n,)).to(self.vectors.device)]

    def check(self, y: Tensor) -> None:
        """Refuses vectors of another shape.

        Raises:
            ConfigError: naming both shapes.
        """
        if y.shape[1:] != self.vectors.shape[1:]:
            message = f"a condition has the shape {list(self.vectors.shape[1:])} (got {list(y.shape[1:])})"
            raise ConfigError(Problem(message, "condition"))

    def warn(self, y: Tensor) -> None:
        """Any vector may be asked for."""
