r"""The Renyi bound of K samples,

    L_alpha = 1 / (1 - alpha) log 1/K sum_k w_k^(1 - alpha),    w_k = p(x, z_k) / q(z_k | x),  z_k ~ q(z | x),

which is the importance-weighted bound at alpha = 0 and the ELBO as alpha goes to 1.

Li and Turner (2016), Renyi Divergence Variational Inference, arXiv:1602.02311.
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, PositiveInt

from variata import Batch, LatentVariable, Now, Objective, OnePhaseLoss, Term


class MyPart(OnePhaseLoss):
    """The negative bound, in nats per example.

    Args:
        alpha: at least 0 and below 1.
        samples: K.
    """

    requires = LatentVariable

    def __init__(self, *, alpha: Annotated[float, Field(ge=0, lt=1)] = 0.5, samples: PositiveInt = 5) -> None:
        super().__init__()
        self.alpha, self.samples = alpha, samples

    def forward(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        terms = model.terms(batch.x, batch.y, self.samples)
        log_mean = ((1 - self.alpha) * terms.log_weights()).logsumexp(0) - math.log(self.samples)
        return Objective({"bound": Term(-log_mean / (1 - self.alpha))}, terms.metrics())
