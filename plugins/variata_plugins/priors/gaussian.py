r"""p(z) = N(m, diag s^2), both learned; given y, m = c + W y and log s^2 = d + V y: a Gaussian for each class.

Sohn, Lee and Yan (2015), Learning Structured Output Representation using Deep Conditional Generative Models (the prior
that depends on y).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from variata import DiagonalNormal, Prior, Shape

from .conditional import Parameters, as_vector


class GaussianPrior(Prior):
    """A Gaussian that is the standard normal before training."""

    def __init__(self, latent: int, condition: Shape | None) -> None:
        super().__init__()
        self.condition = condition
        start = [torch.zeros(latent), torch.zeros(latent)]
        self.law = Parameters(start, math.prod(condition) if condition else 0)

    def forward(self, y: Tensor | None = None) -> DiagonalNormal:
        given = as_vector(y, self.condition) if self.condition is not None and y is not None else None
        mean, logvar = self.law(given)
        return DiagonalNormal(mean, logvar)
