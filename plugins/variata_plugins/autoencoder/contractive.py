r"""E_x[ L(x, g(f(x))) + lambda ||J_f(x)||_F^2 ],   J_f = df / dx: codes that change little with x.

The norm is that of one backward pass for each latent dimension, or for any number of random directions,

    ||J||_F^2 = sum_j |J^T e_j|^2 = E_v |J^T v|^2,   E[v v^T] = I   (Hutchinson, 1990; here v_j = +-1).

Rifai, Vincent, Muller, Glorot and Bengio (2011), Contractive Auto-Encoders: Explicit Invariance During Feature
Extraction.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from variata import Batch, Now, Objective, OnePhaseLoss, Scheduled, Term

from .pair import Pair
from .point import error_metrics, error_of


class Contractive(OnePhaseLoss):
    """The error of reconstruction, and the penalty.

    Args:
        weight: lambda.
        directions: how many random directions estimate the norm; None computes it exactly.
    """

    requires = Pair

    def __init__(self, *, weight: Scheduled = 0.1, directions: PositiveInt | None = None) -> None:
        super().__init__()
        self.weight, self.directions = weight, directions

    def forward(self, model: Pair, batch: Batch, now: Now) -> Objective:
        with torch.enable_grad():  # in validation too
            x = batch.x.detach().requires_grad_()
            z = model.encode(x, batch.y)
            penalty = squared_jacobian(z, x, self.directions)
        law = model.law(z, batch.y)
        terms = {"error": Term(error_of(law, batch.x)), "contraction": Term(penalty, now(self.weight))}
        return Objective(terms, {**error_metrics(law, batch.x), "squared_jacobian": penalty.detach()})


def squared_jacobian(z: Tensor, x: Tensor, directions: int | None = None) -> Tensor:
    """||dz / dx||_F^2 of each example, `[batch]`, differentiable.

    Args:
        z: `[batch, latent]`, computed from x example by example.
        x: `[batch, *event]`, requires a gradient.
        directions: as for `Contractive`.
    """
    latent = z.shape[1]
    if directions is None:
        v = torch.eye(latent, dtype=z.dtype, device=z.device)[:, None].expand(-1, len(z), -1)
    else:
        v = torch.randint(2, (directions, *z.shape), device=z.device).to(z.dtype) * 2 - 1
    (rows,) = torch.autograd.grad(z, x, v, create_graph=True, is_grads_batched=True)
    squared = rows.flatten(2).square().sum(2)
    return squared.sum(0) if directions is None else squared.mean(0)
