r"""Expectation maximisation with a posterior that is learned: the ELBO F(q, theta), raised by q and theta in turn,

    expectation     moves q with theta held:    KL(q(z | x) || p(z | x)) falls
    maximisation    moves theta with q held:    E_q[log p(x, z)] rises
                    and s^2 <- (1 - rate) s^2 + rate mean (x - E[x | z])^2, towards where that is greatest.

Neal and Hinton (1998), A View of the EM Algorithm that Justifies Incremental, Sparse, and Other Variants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, PositiveInt

from variata import Batch, Loss, Now, Objective, Phase, Term, Terms, gathered

from .sparse_coding import SparseCoding


class VariationalEM(Loss):
    """The negative ELBO, in two phases.

    Args:
        every: a step of maximisation follows each so many of expectation.
        rate: of the variance.
    """

    requires = SparseCoding
    couples_batch = gathers = True  # the variance is that of the whole batch

    def __init__(self, *, every: PositiveInt = 1, rate: Annotated[float, Field(gt=0, le=1)] = 0.05) -> None:
        super().__init__()
        self.every, self.rate = every, rate

    def phases(self, model: SparseCoding) -> Sequence[Phase]:
        q = list(model.encoder.parameters())
        theta = [*model.prior.parameters(), model.atoms, model.centre]
        return [
            Phase(name="expectation", loss=self.expectation, parameters=q),
            Phase(name="maximisation", loss=self.maximisation, parameters=theta, every=self.every),
        ]

    def expectation(self, model: SparseCoding, batch: Batch, now: Now) -> Objective:
        """Moves q."""
        terms = model.terms(batch.x)
        return Objective(_bound(terms), terms.metrics())

    def maximisation(self, model: SparseCoding, batch: Batch, now: Now) -> Objective:
        """Moves everything else; the variance in closed form."""
        terms = model.terms(batch.x)
        assert terms.likelihood is not None
        with torch.no_grad():
            error = (batch.x - terms.likelihood.mean).square().flatten(1).mean(1)  # [batch]
            variance = (1 - self.rate) * model.variance + self.rate * gathered(error).mean()
        return Objective(_bound(terms), updates=[(model.variance, variance)])


def _bound(terms: Terms) -> dict[str, Term]:
    return {"distortion": Term(-terms.reconstruction), "rate": Term(terms.kl)}
