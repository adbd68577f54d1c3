r"""The mean of M importance-weighted bounds of K samples each,

    1/M sum_m log 1/K sum_k w_mk :   M = 1 is IWAE, K = 1 is the ELBO of M samples.

It bounds log p(x) as L_K does, with M times less variance, also in the gradient.

Rainforth, Kosiorek, Le, Maddison, Igl, Wood and Teh (2018), Tighter Variational Bounds are Not Necessarily Better,
arXiv:1802.04537.
"""

from __future__ import annotations

from pydantic import PositiveInt

from variata import Batch, LatentVariable, Now, Objective, OnePhaseLoss, Term

from .weights import Gradient, importance_weighted


class MIWAE(OnePhaseLoss):
    """The negative mean bound.

    Args:
        groups: M.
        samples: K, of each group.
        gradient: how the encoder's gradient is estimated (`weights.py`).
    """

    requires = LatentVariable

    def __init__(self, *, groups: PositiveInt = 8, samples: PositiveInt = 8, gradient: Gradient = "total") -> None:
        super().__init__()
        self.groups, self.samples = groups, samples
        self.gradient: Gradient = gradient

    def forward(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        terms = model.terms(batch.x, batch.y, self.groups * self.samples)
        bound = importance_weighted(terms, self.groups, self.gradient)
        return Objective({"bound": Term(-bound)}, {"miwae": bound, **terms.metrics()})
