"""Laws of values that stand at equal distances: the bins that a data set has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from variata import DataSpec


class Levels:
    """The levels 0 .. count - 1 of a data set, and the values low .. high that they stand for."""

    def __init__(self, data: DataSpec) -> None:
        assert data.levels is not None, "data of levels says how many there are"
        self.count, self.low, self.step = data.levels, data.low, (data.high - data.low) / (data.levels - 1)

    def index(self, values: Tensor) -> Tensor:
        """Level of each value, a whole number of the values' type."""
        return ((values - self.low) / self.step).round()

    def value(self, index: Tensor) -> Tensor:
        """Value of each level."""
        return self.low + self.step * index


class LawOfLevels(Distribution, ABC):
    """A distribution whose elements are independent, each over the same levels.

    Args:
        levels: the levels.
        shape: `[*batch, *event]`.
        event_dims: how many of the last axes are one event.
    """

    def __init__(self, levels: Levels, shape: torch.Size, event_dims: int) -> None:
        self.levels = levels
        split = len(shape) - event_dims
        super().__init__(shape[:split], shape[split:], validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {}

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(
            constraints.interval(self.levels.low, self.levels.value(torch.tensor(self.levels.count - 1.0)).item()),
            len(self.event_shape),
        )

    def log_prob(self, value: Tensor) -> Tensor:
        of_elements = self.log_prob_of_level(self.levels.index(value))
        return of_elements.flatten(of_elements.ndim - len(self.event_shape)).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.levels.value(self.sample_level(self._extended_shape(torch.Size(sample_shape))))

    @property
    def mean(self) -> Tensor:
        return self.levels.value(self.mean_level())

    @abstractmethod
    def log_prob_of_level(self, index: Tensor) -> Tensor:
        """log P of each element's level, of the broadcast shape."""

    @abstractmethod
    def sample_level(self, shape: torch.Size) -> Tensor:
        """Levels of that shape."""

    @abstractmethod
    def mean_level(self) -> Tensor:
        """Mean level of each element."""
