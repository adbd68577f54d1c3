r"""Modified Bessel functions of the first kind, scaled so that nothing overflows, underflows or is 0 / 0:

    h_v(x) = log[ e^-x x^-v I_v(x) ],    x >= 0,  v >= 0.

I_99(1) is 1e-186, I_99(1e4) is 1e4340; h is a moderate number at both, and finite at x = 0, where I_v is not. Two
formulas share the quadrant, neither with a sum of terms that cancel:

    r < 30    I_v(x) = (x/2)^v sum_k (x^2/4)^k / (k! Gamma(v + k + 1))                            (DLMF 10.25.2)
    r >= 30   I_v(x) ~ e^r (x / (v + r))^v (2 pi r)^-1/2 sum_k u_k(v / r) v^-k                    (DLMF 10.41.3)

with r^2 = x^2 + v^2. The second is Debye's expansion, uniform in x for large v; written with r it is Hankel's
expansion at v = 0, so that large x suffice as well. Its polynomials u_k follow from each other (DLMF 10.41.9).

NIST Digital Library of Mathematical Functions, chapter 10, https://dlmf.nist.gov/10.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

_BORDER = 30.0
_SERIES = 100  # terms; those after them are below 1e-40 of the largest where r < 30
_DEBYE = 13  # likewise 1e-15 where r >= 30


def log_bessel(order: float, x: Tensor) -> Tensor:
    """h_order(x), of x's shape, in float64 whatever x is in; differentiable any number of times."""
    return _LogBessel.apply(x.double(), order)


def bessel_ratio(order: float, x: Tensor) -> Tensor:
    """I_{order+1}(x) / I_order(x), in [0, 1)."""
    return x.double() * (log_bessel(order + 1, x) - log_bessel(order, x)).exp()


class _LogBessel(torch.autograd.Function):
    """h, with d/dx h_v(x) = I_{v+1}(x) / I_v(x) - 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.order = order
        r = (x.square() + order**2).sqrt()
        large = _debye(order, x, r.clamp(min=1.0))
        return large if order >= _BORDER else torch.where(r < _BORDER, _series(order, x.clamp(max=_BORDER)), large)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad * (bessel_ratio(ctx.order, x) - 1), None


def _series(order: float, x: Tensor) -> Tensor:
    k = torch.arange(_SERIES, dtype=x.dtype, device=x.device)
    terms = torch.xlogy(k, x.square().unsqueeze(-1) / 4) - torch.lgamma(k + 1) - torch.lgamma(order + k + 1)
    return terms.logsumexp(-1) - x - order * math.log(2)


def _debye(order: float, x: Tensor, r: Tensor) -> Tensor:
    j = torch.arange(_DEBYE + 1, dtype=x.dtype, device=x.device)
    polynomials = torch.tensor(_polynomials(), dtype=x.dtype, device=x.device)
    inverse, square = r.reciprocal().unsqueeze(-1), (order / r).square().unsqueeze(-1)
    total = ((square**j @ polynomials.T) * inverse**j).sum(-1)
    return order**2 / (r + x) - order * (order + r).log() - 0.5 * (2 * math.pi * r).log() + total.log()


@cache
def _polynomials() -> list[list[float]]:
    """u_k(p) p^-k as polynomials in p^2, a row each, from
    u_{k+1} = 1/2 p^2 (1 - p^2) u_k' + 1/8 int_0^p (1 - 5 t^2) u_k(t) dt."""
    rows = [[1.0] + [0.0] * _DEBYE]
    for k in range(_DEBYE):
        following = [0.0] * (_DEBYE + 1)
        for j, coefficient in enumerate(rows[-1][: k + 1]):
            n = k + 2 * j
            following[j] += coefficient * (n / 2 + 1 / (8 * (n + 1)))
            following[j + 1] -= coefficient * (n / 2 + 5 / (8 * (n + 3)))
        rows.append(following)
    return rows
