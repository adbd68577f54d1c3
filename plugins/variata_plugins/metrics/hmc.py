r"""Hamiltonian Monte Carlo: a transition that leaves f(z) ~ p(z) p(x | z)^beta invariant.

With a momentum r ~ N(0, I), H = -log f(z) + |r|^2 / 2 is followed by leapfrog steps of size e,

    r <- r + e/2 grad log f(z),    z <- z + e r,    r <- r + e/2 grad log f(z),

a map that is its own inverse once r is negated and preserves volume; its end is accepted with probability
min(1, exp(H - H')). A step of any size that does not depend on the state leaves f invariant.

Duane, Kennedy, Pendleton and Roweth (1987), Hybrid Monte Carlo. Neal (2011), MCMC using Hamiltonian dynamics,
arXiv:1206.1901.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

_FAR = 1e6
"""Beyond it a trajectory counts as lost and is refused: it is so from either end, so that this changes no law."""


@dataclass(frozen=True)
class Point:
    """Where a chain is.

    Attributes:
        z: `[*chains, latent]`.
        log_prior, log_likelihood: log p(z) and log p(x | z), `[*chains]`.
        prior_slope, likelihood_slope: their gradients, `[*chains, latent]`.
    """

    z: Tensor
    log_prior: Tensor
    log_likelihood: Tensor
    prior_slope: Tensor
    likelihood_slope: Tensor

    def log_density(self, beta: float) -> Tensor:
        """log f, `[*chains]` in float64."""
        return self.log_prior.double() + beta * self.log_likelihood.double()

    def slope(self, beta: float) -> Tensor:
        """Its gradient."""
        return self.prior_slope + beta * self.likelihood_slope

    def where(self, chosen: Tensor, other: Point) -> Point:
        """This point for the chains that are chosen, `[*chains]`, and the other one for the rest."""

        def choose(name: str) -> Tensor:
            mine, others = getattr(self, name), getattr(other, name)
            return torch.where(chosen if mine.ndim == chosen.ndim else chosen[..., None], mine, others)

        return Point(**{field.name: choose(field.name) for field in fields(Point)})


Evaluate = Callable[[Tensor], Point]
"""z -> everything of the point there."""


def leapfrog(
    evaluate: Evaluate, start: Point, momentum: Tensor, beta: float, size: float, count: int
) -> tuple[Point, Tensor, Tensor]:
    """Follows H for some steps: the end, its momentum, and which chains were lost on the way."""
    point, lost = start, torch.zeros_like(start.log_prior, dtype=torch.bool)
    momentum = momentum + 0.5 * size * point.slope(beta)
    for step in range(1, count + 1):
        z = point.z + size * momentum
        lost = lost | ~(z.abs() < _FAR).all(-1)
        point = evaluate(torch.where(lost[..., None], start.z, z))
        momentum = momentum + (size if step < count else 0.5 * size) * point.slope(beta)
    return point, momentum, lost


def transition(evaluate: Evaluate, start: Point, beta: float, size: float, count: int) -> tuple[Point, Tensor]:
    """One step of each chain, and the probability with which each was to be accepted, `[*chains]`."""
    momentum = torch.randn_like(start.z)
    level = torch.rand_like(start.log_prior, dtype=torch.float64)
    end, turned, lost = leapfrog(evaluate, start, momentum, beta, size, count)
    kinetic = 0.5 * (momentum.double().square().sum(-1) - turned.double().square().sum(-1))
    change = end.log_density(beta) - start.log_density(beta) + kinetic
    probability = torch.where(lost, 0.0, change.exp().clamp(max=1).nan_to_num(0.0))
    return end.where(level < probability, start), probability
