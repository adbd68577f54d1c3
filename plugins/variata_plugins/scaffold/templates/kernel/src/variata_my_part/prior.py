r"""p(z) = prod_j sech(z_j / s_j) / (pi s_j), with scales that are learned:

    log p(z) = -sum_j [ log cosh(z_j / s_j) + log(pi s_j) ],    z_j = s_j log tan(pi u / 2),  u ~ U(0, 1)

It has the tails of a Laplace law and no corner at 0.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from variata import Prior

from .log_cosh import log_cosh


class HyperbolicSecant(Distribution):
    """Independent hyperbolic secant laws.

    Args:
        scale: `[*batch, latent]`.
    """

    has_rsample = True

    def __init__(self, scale: Tensor) -> None:
        self.scale = scale
        super().__init__(scale.shape[:-1], scale.shape[-1:], validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {}

    @property
    def support(self) -> constraints.Constraint:
        return constraints.real_vector

    @property
    def mean(self) -> Tensor:
        return torch.zeros_like(self.scale)

    def expand(self, batch_shape: Any, _instance: Any = None) -> HyperbolicSecant:
        return HyperbolicSecant(self.scale.expand(torch.Size(batch_shape) + self.event_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape) + self.scale.shape
        u = torch.rand(shape, dtype=self.scale.dtype, device=self.scale.device)
        u = u.clamp(torch.finfo(u.dtype).tiny, 1 - torch.finfo(u.dtype).eps)
        return self.scale * (0.5 * math.pi * u).tan().log()

    def log_prob(self, value: Tensor) -> Tensor:
        return -(log_cosh(value / self.scale) + (math.pi * self.scale).log()).sum(-1)


class MyPart(Prior):
    """Independent hyperbolic secant laws; they do not depend on y.

    Args:
        latent: dimensions of z, from the model.
        scale: s, where it begins.
    """

    def __init__(self, latent: int, *, scale: PositiveFloat = 0.6) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((latent,), scale).log())

    def forward(self, y: Tensor | None = None) -> HyperbolicSecant:
        scale = self.log_scale.exp()
        return HyperbolicSecant(scale if y is None else scale.expand(len(y), -1))
