r"""The law of a row whose columns are independent, each of its own kind,

    log p(x) = sum over the columns j that are there of log p_j(x_j),

    numeric       N(x; mu, s^2)
    categorical   softmax(a)_x
    count         Gamma(x + r) / (x! Gamma(r)) (r / (r + m))^r (m / (r + m))^x,  of mean m and variance m + m^2 / r
                  (negative binomial), or m^x exp(-m) / x! (Poisson)

What is NaN adds nothing, and no gradient comes from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints


@dataclass
class Kindred:
    """The columns of one kind: which of a row they are, `[n]`, and their laws, of batch shape `[*batch, n]`."""

    columns: Tensor
    law: Distribution

    def best(self) -> Tensor:
        """Mean of each; of a categorical one, its most probable level."""
        return self.law.probs.argmax(-1).to(self.law.probs) if isinstance(self.law, Categorical) else self.law.mean

    def mixed(self, weights: Tensor) -> Tensor:
        """`best` of the mixture of the laws of the first axis by weights `[draws, *rest]` that sum to one, `[*rest,
        n]`."""
        if isinstance(self.law, Categorical):
            probabilities = (weights[..., None, None] * self.law.probs).sum(0)
            return probabilities.argmax(-1).to(weights)
        return (weights[..., None] * self.law.mean).sum(0)


class RowLaw(Distribution):
    """Independent columns over the last axis.

    Args:
        parts: the columns of each kind; together they are all columns.
        dtype: of what is drawn.
    """

    def __init__(self, parts: Sequence[Kindred], dtype: torch.dtype) -> None:
        self.parts, self.dtype = tuple(parts), dtype
        width = sum(len(part.columns) for part in parts)
        super().__init__(parts[0].law.batch_shape[:-1], torch.Size([width]), validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {}

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_of_columns(value).sum(-1)

    def log_prob_of_columns(self, value: Tensor) -> Tensor:
        """`[*batch, columns]`; zero where the value is missing."""
        there = ~value.isnan()
        value = value.masked_fill(~there, 0.0)
        found = [part.law.log_prob(value[..., part.columns]) for part in self.parts]
        found = self._in_order(found)
        return torch.where(there, found, torch.zeros_like(found))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            drawn = [part.law.sample(torch.Size(sample_shape)) for part in self.parts]
            return self._in_order([d.to(self.dtype) for d in drawn])

    @property
    def mean(self) -> Tensor:
        """The best guess of each column: its mean; of a categorical one, its most probable level."""
        return self._in_order([part.best() for part in self.parts])

    def mixed(self, weights: Tensor) -> Tensor:
        """The best guess of the mixture of these laws along the first axis, by weights `[draws, *rest]` that sum to
        one: `[*rest, columns]`."""
        return self._in_order([part.mixed(weights) for part in self.parts])

    def _in_order(self, found: Sequence[Tensor]) -> Tensor:
        order = torch.cat([part.columns for part in self.parts]).argsort()
        return torch.cat(list(found), dim=-1)[..., order]
