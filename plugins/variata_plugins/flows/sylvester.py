r"""Sylvester flow: a planar step with M directions at once,

    z' = z + Q R tanh(a),   a = S Q' z + b,      log |det| = sum_i log(1 + (1 - tanh(a_i)^2) R_ii S_ii),

where Q has M orthonormal columns, and R and S are upper triangular with diagonals in (-1, 1), so that each factor is
positive. Q is the first M columns of a product of Householder reflections I - 2 v v' / |v|^2. All parameters are
affine functions of the context. The inverse solves for Q' z, last coordinate first, one equation of one unknown each.

van den Berg, Hasenclever, Tomczak and Welling (2018), Sylvester Normalizing Flows for Variational Inference,
arXiv:1803.05649 (there this is H-SNF, with M = latent).
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from variata_plugins.priors.conditional import Parameters

from .bijection import Bijection, directed
from .flow import Direction, Flow
from .planar import solved


class Sylvester(Flow):
    """Sylvester steps.

    Args:
        features, context, direction: from the posterior or prior.
        steps: how many.
        directions: M, at most the size of z.
        reflections: how many of them make Q.
    """

    def __init__(
        self,
        features: int,
        context: int,
        direction: Direction,
        *,
        steps: PositiveInt = 4,
        directions: PositiveInt = 16,
        reflections: PositiveInt = 8,
    ) -> None:
        super().__init__()
        self.direction = direction
        width = min(directions, features)
        triangles = [0.01 * torch.randn(steps, width, width) for _ in range(2)]
        start = [*triangles, torch.zeros(steps, width), torch.randn(steps, reflections, features)]
        self.map = Parameters(start, context, spread=0.01)

    def forward(self, context: Tensor | None) -> Bijection:
        r, s, b, v = self.map(context)
        steps = SylvesterSteps(orthonormal(v, b.shape[-1]), triangular(r), triangular(s), b)
        return directed(steps, self.direction)


def orthonormal(v: Tensor, columns: int) -> Tensor:
    """The first columns of the product of the reflections at v `[*, reflections, latent]`: `[*, latent, columns]`."""
    q = torch.eye(v.shape[-1], columns, dtype=v.dtype, device=v.device)
    for normal in v.unbind(-2):
        unit = (normal / normal.norm(dim=-1, keepdim=True)).unsqueeze(-1)
        q = q - 2 * unit @ (unit.mT @ q)
    return q


def triangular(values: Tensor) -> Tensor:
    """Upper triangular, with the tanh of the diagonal."""
    return values.triu(1) + torch.diag_embed(values.diagonal(dim1=-2, dim2=-1).tanh())


class SylvesterSteps(Bijection):
    """The steps for given parameters: q `[*batch, steps, latent, M]`, r, s `[*batch, steps, M, M]`,
    b `[*batch, steps, M]`."""

    def __init__(self, q: Tensor, r: Tensor, s: Tensor, b: Tensor) -> None:
        self.steps = list(zip(q.unbind(-3), r.unbind(-3), s.unbind(-3), b.unbind(-2), strict=True))

    def forward(self, start: Tensor) -> tuple[Tensor, Tensor]:
        z, total = start, start.new_zeros(())
        for q, r, s, b in self.steps:
            h = (_times(s, _times(q.mT, z)) + b).tanh()
            z = z + _times(q, _times(r, h))
            total = total + _log_det(h, r, s)
        return z, total

    def inverse(self, end: Tensor) -> tuple[Tensor, Tensor]:
        z, total = end, end.new_zeros(())
        for q, r, s, b in reversed(self.steps):
            h = _images(_times(q.mT, z), r, s, b)
            z = z - _times(q, _times(r, h))
            total = total - _log_det(h, r, s)
        return z, total


def _images(target: Tensor, r: Tensor, s: Tensor, b: Tensor) -> Tensor:
    """tanh(S p + b) at the p with p + R tanh(S p + b) = target: in coordinate i both sums run over j >= i."""
    p: list[Tensor] = []
    h: list[Tensor] = []
    for i in reversed(range(target.shape[-1])):
        shift, rest = b[..., i].expand(target.shape[:-1]), target[..., i]
        for j, (known, image) in enumerate(zip(reversed(p), reversed(h), strict=True), start=i + 1):
            shift, rest = shift + s[..., i, j] * known, rest - r[..., i, j] * image
        p.append(solved(rest, s[..., i, i], r[..., i, i], shift))
        h.append((s[..., i, i] * p[-1] + shift).tanh())
    return torch.stack(h[::-1], dim=-1)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _log_det(h: Tensor, r: Tensor, s: Tensor) -> Tensor:
    diagonal = r.diagonal(dim1=-2, dim2=-1) * s.diagonal(dim1=-2, dim2=-1)
    return ((1 - h.square()) * diagonal).log1p().sum(-1)
