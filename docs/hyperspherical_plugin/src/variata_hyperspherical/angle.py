r"""The angle a in [0, pi] between z and mu, which is all that a von Mises-Fisher law on S^{m-1} is about:

    g(a; k)  ~  exp(k cos a) sin^{m-2} a.

Drawn by rejection (Wood, 1994, after Ulrich, 1984). The proposal is tan^2(a/2) = b G1 / G2, with G1 and G2 of the law
Gamma((m-1)/2, 1), and it is accepted with probability

    exp{ k (cos a - x0) + (m-1) log[(1 - x0 cos a) / (1 - x0^2)] },
    b = (m-1) / (2k + sqrt(4 k^2 + (m-1)^2)),    x0 = (1-b) / (1+b):

more than two times in three, whatever m and k are.

Differentiated implicitly (Figurnov, Mohamed and Mnih, 2018, arXiv:1805.08498): what is held constant while k moves is
the share of the law that lies below a, G(a; k), hence

    da/dk = - d/dk G(a; k) / g(a; k) = - int_0^a (cos t - A_m(k)) g(t; k) / g(a; k) dt.

So gradients are unbiased by themselves. The gradient through the accepted proposal (Davidson et al., 2018) is not: it
needs a correction of the loss, by the score of what was accepted (Naesseth, Ruiz, Linderman and Blei, 2017,
arXiv:1610.05683). The integral is a Gauss-Legendre sum over that side of a on which g falls, so that nothing cancels.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Gamma

from .bessel import bessel_ratio

_NODES = 64
_REACH = 10.0  # widths of g, beyond which it is nothing


def draw_angle(concentration: Tensor, dimensions: int) -> Tensor:
    """An angle for each concentration, `[*batch]` in float64; its gradient reaches the concentration."""
    return _Angle.apply(concentration, dimensions)


class _Angle(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, concentration: Tensor, dimensions: int) -> Tensor:
        angle = _rejection(concentration.reshape(-1), dimensions).view(concentration.shape)
        ctx.save_for_backward(angle, concentration)
        ctx.dimensions = dimensions
        return angle

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * slope(*ctx.saved_tensors, ctx.dimensions), None


def _rejection(k: Tensor, dimensions: int) -> Tensor:
    d = dimensions - 1
    b = d / (2 * k + (4 * k.square() + d**2).sqrt())
    x0 = (1 - b) / (1 + b)
    gamma = Gamma(k.new_tensor(d / 2), k.new_tensor(1.0))
    angle, rest = torch.empty_like(k), torch.arange(len(k), device=k.device)
    while len(rest):
        g1, g2 = gamma.sample((2, len(rest)))
        proposed = 2 * torch.atan2((b[rest] * g1).sqrt(), g2.sqrt())
        cosine, centre = proposed.cos(), x0[rest]
        log_accept = k[rest] * (cosine - centre) + d * ((1 - centre * cosine) / (1 - centre.square())).log()
        taken = torch.rand_like(proposed).log() <= log_accept
        angle[rest[taken]] = proposed[taken]
        rest = rest[~taken]
    return angle


def slope(angle: Tensor, k: Tensor, dimensions: int) -> Tensor:
    """da/dk at an angle that was drawn, `[*batch]`."""
    power = dimensions - 2
    q = (power + (4 * k.square() + power**2).sqrt()) / 2
    peak = k / q.clamp(min=1e-300)  # cos of the angle where g is greatest
    width = (2 / (k * peak + q).clamp(min=1e-300)).sqrt()
    far = torch.where(
        angle.cos() > peak, (angle - _REACH * width).clamp(min=0), (angle + _REACH * width).clamp(max=math.pi)
    )
    nodes, weights = (torch.as_tensor(values, dtype=k.dtype, device=k.device) for values in _gauss_legendre())
    a, k, length = angle.unsqueeze(-1), k.unsqueeze(-1), (angle - far).unsqueeze(-1)
    t = far.unsqueeze(-1) + length * nodes
    log_ratio = -2 * k * ((t + a) / 2).sin() * ((t - a) / 2).sin() + power * (t.sin() / a.sin()).log()
    return -(length * weights * (t.cos() - bessel_ratio(dimensions / 2 - 1, k)) * log_ratio.exp()).sum(-1)


@cache
def _gauss_legendre() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return (nodes + 1) / 2, weights / 2
