"""Conditions y of a model: what training had, to draw from and to hold what is asked for against; and how a model that
may be conditional reads the y of its examples (`given_condition`) and of its samples (`asked_condition`)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .data import Batch, DataSpec, Shape
from .errors import ConfigError, NotPrepared, Problem, VariataWarning
from .interfaces import Model, Prepares


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
            y = batch.labelled_part().y
            assert y is not None
            self.counts += torch.bincount(y.cpu(), minlength=len(self.counts)).to(self.counts.device)

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


def conditions_of(data: DataSpec, wanted: bool) -> LabelFrequencies | ConditionVectors | None:
    """The `conditions` of a model of this data; None where none is wanted.

    Raises:
        ConfigError: a condition is wanted and the data has none.
    """
    shape = data.condition_shape
    if not wanted:
        return None
    if shape is None:
        raise ConfigError(Problem("condition: true needs labels, and this data has none"))
    if data.labelled is not None:
        raise ConfigError(Problem("condition: true needs every label, and data.labels leaves some out: remove either"))
    return LabelFrequencies(data.classes) if data.classes else ConditionVectors(shape)


def given_condition(model: Model, y: Tensor | None) -> tuple[Tensor, ...]:
    """y of examples, as further argument of the parts; nothing where the model is not conditional."""
    if not model.conditional:
        return ()
    if y is None:
        raise ValueError("this model is conditional: it needs y")
    if not model.training and not torch.compiler.is_compiling():  # what y holds is not known while tracing
        model.conditions.warn(y)
    return (y,)


def asked_condition(model: Model, n: int, condition: Tensor | None) -> Tensor | None:
    """y of n samples: one condition for each, one for all, or drawn; None where the model is not conditional.

    Raises:
        ConfigError: a condition that the model has not, or not n of them, or one that training never had.
        NotPrepared: y has to be drawn, and the training frequencies are not known.
    """
    if not model.conditional:
        if condition is not None:
            raise ConfigError(Problem("this model has no condition: train one with model.condition=true", "condition"))
        return None
    if condition is None:
        return model.conditions.draw(n)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    y = torch.as_tensor(condition, device=device)
    own = 0 if model.spec.classes else len(model.spec.condition_shape or ())
    y = y.expand(n, *y.shape) if y.ndim == own else y
    if len(y) != n:
        raise ConfigError(Problem(f"{n} samples need {n} conditions, or one for all (got {len(y)})", "condition"))
    model.conditions.check(y)
    return y
