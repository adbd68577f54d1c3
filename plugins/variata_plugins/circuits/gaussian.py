r"""Leaves N(x; mu, s^2) of real numbers, with a scale between two bounds,

    s = low + (high - low) sigmoid(t),

since a scale that may vanish sends the density of a training example to infinity, and one without a ceiling lets a
unit die.

Peharz et al. (2020), Random sum-product networks, arXiv:1806.01910 (bounded scales).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from variata import Batch, ConfigError, DataSpec, Problem

from .leaves import Leaf


class Gaussian(Leaf):
    """A mean and a scale for each unit; means start at training examples.

    Args:
        data, leaves, units: sizes, from the circuit.
        low, high: the bounds of the scale, in units of the data.

    Raises:
        ConfigError: the bounds are not in their order.
    """

    models = ("real", "interval")
    countable = False

    def __init__(
        self, data: DataSpec, leaves: int, units: int, *, low: PositiveFloat = 0.01, high: PositiveFloat = 1.0
    ) -> None:
        super().__init__(data, leaves, units)
        if low >= high:
            raise ConfigError(Problem(f"low must be less than high (got {low:g} and {high:g})"))
        self.low, self.high = low, high
        self.mean = nn.Parameter(torch.randn(leaves, units))
        self.scale_logit = nn.Parameter(torch.zeros(leaves, units))

    @property
    def scale(self) -> Tensor:
        """s, `[leaves, units]`."""
        return self.low + (self.high - self.low) * self.scale_logit.sigmoid()

    def forward(self, x: Tensor, normalise: bool = True) -> Tensor:
        scale = self.scale[:, None]
        deviation = (x[..., None] - self.mean[:, None]) / scale
        return -0.5 * deviation.square() - scale.log() - 0.5 * math.log(2 * math.pi)

    def modes(self) -> tuple[Tensor, Tensor]:
        return self.mean, -self.scale.log() - 0.5 * math.log(2 * math.pi)

    def draw(self, unit: Tensor) -> Tensor:
        mean, scale = self.mean.gather(1, unit), self.scale.gather(1, unit)
        return mean + scale * torch.randn_like(mean)

    def entropy(self) -> Tensor:
        return self.scale.log() + 0.5 * math.log(2 * math.pi * math.e)

    @torch.no_grad()
    def start(self, stream: Iterable[Batch], variable: Tensor) -> None:
        """Takes the means of the units from examples drawn among the first batch, the same for all variables; where a
        value is missing, the mean of those that are there."""
        first = next(iter(stream)).x.flatten(1)
        first = torch.where(first.isnan(), first.nanmean(0).nan_to_num(0.0), first)
        rows = torch.randint(len(first), (self.units,), device=first.device)
        self.mean.copy_(first[rows].T[variable])

    def normalise_(self) -> None:
        """No parameter is a log-probability."""
