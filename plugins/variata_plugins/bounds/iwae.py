r"""The importance-weighted bound of K samples,

    L_K(x) = E[ log 1/K sum_k p(x, z_k) / q(z_k | x) ],  z_k ~ q(z | x),   ELBO = L_1 <= L_2 <= ... <= log p(x).

Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, arXiv:1509.00519.
"""

from __future__ import annotations

from pydantic import PositiveInt

from variata import Batch, LatentVariable, Now, Objective, OnePhaseLoss, Term

from .weights import Gradient, importance_weighted


class IWAE(OnePhaseLoss):
    """The negative importance-weighted bound.

    Args:
        samples: K.
        gradient: how the encoder's gradient is estimated (`weights.py`); "stl" is biased for K > 1.
    """

    requires = LatentVariable

    def __init__(self, *, samples: PositiveInt = 5, gradient: Gradient = "total") -> None:
        super().__init__()
        self.samples = samples
        self.gradient: Gradient = gradient

    def forward(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        terms = model.terms(batch.x, batch.y, self.samples)
        bound = importance_weighted(terms, gradient=self.gradient)
        return Objective({"bound": Term(-bound)}, {"iwae": bound, **terms.metrics()})
