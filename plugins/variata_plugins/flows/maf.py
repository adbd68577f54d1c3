r"""Masked autoregressive flow: z_(t-1) = m + s * z_t, where m_i and s_i depend on the dimensions before i of z_t.

One pass of each network gives the density of any z; a draw takes as many passes as there are dimensions. Made for
priors.

Papamakarios, Pavlakou and Murray (2017), Masked Autoregressive Flow for Density Estimation, arXiv:1705.07057.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import PositiveInt
from torch import Tensor

from .autoregressive import MaskedSteps
from .bijection import Bijection, Reversed
from .flow import Flow
from .library import MonotonicAffineTransform


class MAF(Flow):
    """Affine steps that are fast to evaluate.

    Args:
        features, context: sizes, from the posterior or prior.
        steps: how many.
        hidden: width of each hidden layer of a step's network.
    """

    def __init__(
        self, features: int, context: int, *, steps: PositiveInt = 3, hidden: Sequence[PositiveInt] = (200,)
    ) -> None:
        super().__init__()
        self.steps = MaskedSteps(
            features, context, steps=steps, hidden=hidden, univariate=MonotonicAffineTransform, shapes=[(), ()]
        )

    def forward(self, context: Tensor | None) -> Bijection:
        return Reversed(self.steps(context))
