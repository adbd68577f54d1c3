r"""p(z) = prod_j exp(-|z_j| / b_j) / 2 b_j, with scales that are learned, and the divergence of a Gaussian from it,

    KL(N(mu, s^2) || Laplace(0, b)) = log 2b + E|z| / b - 1/2 log 2 pi e s^2,
    E|z| = s sqrt(2 / pi) exp(-mu^2 / 2 s^2) + mu erf(mu / s sqrt 2).

Olshausen and Field (1996), Emergence of Simple-Cell Receptive Field Properties by Learning a Sparse Code for Natural
Images.
"""

from __future__ import annotations

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.distributions import Independent, Laplace, register_kl

from variata import DiagonalNormal, Prior

from .gaussian_laplace_kl import gaussian_laplace_kl


class FactorisedLaplace(Independent):
    """Laplace laws around zero, one for each dimension; log_scale is `[*batch, latent]`."""

    def __init__(self, log_scale: Tensor) -> None:
        self.log_scale = log_scale
        super().__init__(Laplace(torch.zeros_like(log_scale), log_scale.exp()), 1)


class LaplacePrior(Prior):
    """Independent Laplace laws; they do not depend on y.

    Args:
        latent: dimensions of z, from the model.
        scale: b, where it begins.
    """

    def __init__(self, latent: int, *, scale: PositiveFloat = 1.0) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((latent,), scale).log())

    def forward(self, y: Tensor | None = None) -> FactorisedLaplace:
        return FactorisedLaplace(self.log_scale if y is None else self.log_scale.expand(len(y), -1))


@register_kl(DiagonalNormal, FactorisedLaplace)
def _kl(q: DiagonalNormal, p: FactorisedLaplace) -> Tensor:
    return gaussian_laplace_kl(q.mu, q.logvar, p.log_scale.expand_as(q.mu)).sum(-1)
