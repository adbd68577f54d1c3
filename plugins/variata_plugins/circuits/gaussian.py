r"""Leaves N(x; mu, s^2) of real numbers, with a scale between two bounds,

    s = low + (high - low) sigmoid(t),

since a scale that may vanish sends the density of a training example to infinity, and one without a ceiling lets a
unit die.

Expectation maximisation needs how much of each example a law has to explain, r, and with it the moments of
u = (x - mu) / s. They are the gradient of log p with respect to a mass, to mu and to t if the law is written so that

    T(x) = (1, u, u^2),    n_o = sum over x of r T_o(x)    shift = n_1 / n_0,    spread = n_2 / n_0 - shift^2

are what autograd finds. Then mu <- mu + s shift and s^2 <- s^2 spread, held between the bounds, is the most likely law;
a step eta < 1 goes that part of the way in E[x] and E[x^2]:

    mu <- mu + eta s shift,    s^2 <- s^2 [ (1 - eta) + eta spread + eta (1 - eta) shift^2 ].

Peharz et al. (2020), Random sum-product networks, arXiv:1806.01910 (bounded scales). Cappe and Moulines (2009), Online
EM, arXiv:0712.4273 (steps in expected statistics).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from variata import Batch, ConfigError, DataSpec, Problem

from .leaves import Moments

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


class Gaussian(Moments):
    """A mean and a scale for each unit; means start at training examples. `theta` `[leaves, 3, units]` holds the log of
    each law's mass, which is 0, its mean, and t.

    Args:
        data, leaves, units: sizes, from the circuit.
        low, high: the bounds of the scale, in units of the data.

    Raises:
        ConfigError: the bounds are not in their order.
    """

    models = ("real", "interval")

    def __init__(
        self, data: DataSpec, leaves: int, units: int, *, low: PositiveFloat = 0.01, high: PositiveFloat = 1.0
    ) -> None:
        super().__init__(data, leaves, units)
        if low >= high:
            raise ConfigError(Problem(f"low must be less than high (got {low:g} and {high:g})"))
        self.low, self.high = low, high
        start = torch.zeros(leaves, 3, units)
        start[:, 1] = torch.randn(leaves, units)
        self.theta = nn.Parameter(start)

    @property
    def mean(self) -> Tensor:
        """mu, `[leaves, units]`."""
        return self.theta[:, 1]

    @property
    def scale(self) -> Tensor:
        """s, `[leaves, units]`."""
        return self.low + (self.high - self.low) * self.theta[:, 2].sigmoid()

    def forward(self, x: Tensor, normalise: bool = True) -> Tensor:
        mean, scale = (self.mean, self.scale) if normalise else (self.mean.detach(), self.scale.detach())
        u = (x[..., None] - mean[:, None]) / scale[:, None]
        log_p = -0.5 * u.square() - scale.log()[:, None] - _LOG_SQRT_2PI
        if normalise:
            return log_p
        mass, of_mean, of_spread = (self.theta - self.theta.detach()).unsqueeze(2).unbind(1)  # zeros with a gradient
        return log_p + mass + of_mean * u + of_spread * u.square()

    @torch.no_grad()
    def maximise_(self, statistics: Tensor, lr: float) -> None:
        n, first, second = statistics.unbind(1)
        info = torch.finfo(n.dtype)
        known = n > info.tiny / info.eps
        n = torch.where(known, n, 1.0)
        shift, scale = first / n, self.scale
        spread = (second / n - shift.square()).clamp(min=0)
        variance = scale.square() * ((1 - lr) + lr * spread + lr * (1 - lr) * shift.square())
        share = (variance.sqrt() - self.low) / (self.high - self.low)
        logit = share.clamp(info.eps, 1 - info.eps).logit()
        self.theta[:, 1].copy_(torch.where(known, self.mean + lr * scale * shift, self.mean))
        self.theta[:, 2].copy_(torch.where(known, logit, self.theta[:, 2]))

    def modes(self) -> tuple[Tensor, Tensor]:
        return self.mean, -self.scale.log() - _LOG_SQRT_2PI

    def draw(self, unit: Tensor) -> Tensor:
        mean, scale = self.mean.gather(1, unit), self.scale.gather(1, unit)
        return mean + scale * torch.randn_like(mean)

    def entropy(self) -> Tensor:
        return self.scale.log() + 0.5 + _LOG_SQRT_2PI

    @torch.no_grad()
    def start(self, stream: Iterable[Batch], variable: Tensor) -> None:
        """Takes the means of the units from examples drawn among the first batch, the same for all variables; where a
        value is missing, the mean of those that are there."""
        first = next(iter(stream)).x.flatten(1)
        first = torch.where(first.isnan(), first.nanmean(0).nan_to_num(0.0), first)
        rows = torch.randint(len(first), (self.units,), device=first.device)
        self.mean.copy_(first[rows].T[variable])

    @torch.no_grad()
    def normalise_(self) -> None:
        self.theta[:, 0].zero_()
