r"""Planar flow: each step pushes z along one direction, as far as a hyperplane's distance says,

    z' = z + u tanh(a),   a = w' z + b,      |det| = 1 + (1 - tanh(a)^2) w' u > 0,

where the last needs w' u > -1: from free parameters v, u = v + (softplus(w' v) - 1 - w' v) w / |w|^2. All parameters
are affine functions of the context. The inverse is one equation in a, a + w' u tanh(a) = w' z' + b, found by bisection.

Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, arXiv:1505.05770, appendix A.1.
"""

from __future__ import annotations

import math

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.nn.functional import softplus

from variata_plugins.priors.conditional import Parameters

from .bijection import Bijection, directed
from .flow import Direction, Flow
from .library import bisection

BISECTIONS = 60


class Planar(Flow):
    """Planar steps.

    Args:
        features, context, direction: from the posterior or prior.
        steps: how many.
    """

    def __init__(self, features: int, context: int, direction: Direction, *, steps: PositiveInt = 10) -> None:
        super().__init__()
        self.direction = direction
        start = [torch.randn(steps, features) / math.sqrt(features), 0.01 * torch.randn(steps, features)]
        self.map = Parameters([*start, torch.zeros(steps)], context, spread=0.01)

    def forward(self, context: Tensor | None) -> Bijection:
        w, v, b = self.map(context)
        inner = (w * v).sum(-1, keepdim=True)
        u = v + (softplus(inner) - 1 - inner) * w / w.square().sum(-1, keepdim=True)
        return directed(PlanarSteps(w, u, b), self.direction)


class PlanarSteps(Bijection):
    """The steps for given parameters: w, u `[*batch, steps, latent]`, b `[*batch, steps]`."""

    def __init__(self, w: Tensor, u: Tensor, b: Tensor) -> None:
        self.steps = list(zip(w.unbind(-2), u.unbind(-2), b.unbind(-1), strict=True))

    def forward(self, start: Tensor) -> tuple[Tensor, Tensor]:
        z, total = start, start.new_zeros(())
        for w, u, b in self.steps:
            h = ((z * w).sum(-1) + b).tanh()
            z = z + u * h.unsqueeze(-1)
            total = total + _log_det(h, (w * u).sum(-1))
        return z, total

    def inverse(self, end: Tensor) -> tuple[Tensor, Tensor]:
        z, total = end, end.new_zeros(())
        for w, u, b in reversed(self.steps):
            target, inner = (z * w).sum(-1) + b, (w * u).sum(-1)
            h = solved(target, torch.ones_like(inner), inner, torch.zeros_like(inner)).tanh()
            z = z - u * h.unsqueeze(-1)
            total = total - _log_det(h, inner)
        return z, total


def _log_det(h: Tensor, inner: Tensor) -> Tensor:
    return ((1 - h.square()) * inner).log1p()


def solved(target: Tensor, inside: Tensor, outside: Tensor, shift: Tensor) -> Tensor:
    """The p with p + outside * tanh(inside * p + shift) = target, where inside * outside > -1: the left side rises."""
    target, inside, outside, shift = torch.broadcast_tensors(target, inside, outside, shift)
    margin = outside.detach().abs()
    return bisection(
        lambda p: p + outside * (inside * p + shift).tanh(),
        target,
        target.detach() - margin,
        target.detach() + margin,
        BISECTIONS,
        [parameter for parameter in (inside, outside, shift) if parameter.requires_grad],
    )
