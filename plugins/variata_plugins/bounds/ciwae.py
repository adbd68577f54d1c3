r"""A mixture of the ELBO and the importance-weighted bound, both from the same K samples,

    beta ELBO + (1 - beta) L_K :   beta = 0 is IWAE, beta = 1 is the ELBO of K samples.

Rainforth, Kosiorek, Le, Maddison, Igl, Wood and Teh (2018), Tighter Variational Bounds are Not Necessarily Better,
arXiv:1802.04537.
"""

from __future__ import annotations

from pydantic import PositiveInt

from variata import Batch, ConfigError, LatentVariable, Now, Objective, OnePhaseLoss, Problem, Scheduled, Term

from .weights import importance_weighted


class CIWAE(OnePhaseLoss):
    """The negative mixture.

    Args:
        beta: share of the ELBO, from 0 to 1.
        samples: K.

    Raises:
        ConfigError: a beta that is no share.
    """

    requires = LatentVariable

    def __init__(self, *, beta: Scheduled = 0.5, samples: PositiveInt = 64) -> None:
        super().__init__()
        if isinstance(beta, float | int) and not 0 <= beta <= 1:
            raise ConfigError(Problem(f"beta is the share of the ELBO, between 0 and 1 (got {beta:g})"))
        self.beta, self.samples = beta, samples

    def forward(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        terms = model.terms(batch.x, batch.y, self.samples)
        bound, beta = importance_weighted(terms), now(self.beta)
        parts = {"elbo": Term(-terms.elbo, beta), "iwae": Term(-bound, 1 - beta)}
        return Objective(parts, {"iwae": bound, **terms.metrics()})
