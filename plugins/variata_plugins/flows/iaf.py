r"""Inverse autoregressive flow: z_t = m + s * z_(t-1), where m_i and s_i depend on the dimensions before i of z_(t-1).

One pass of each network draws z with its density; the density of another z takes as many passes as there are
dimensions. Made for posteriors.

Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016), Improving Variational Inference with Inverse
Autoregressive Flow, arXiv:1606.04934.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import PositiveInt
from torch import Tensor

from .autoregressive import MaskedSteps
from .bijection import Bijection
from .flow import Flow
from .library import MonotonicAffineTransform


class IAF(Flow):
    """Affine steps that are fast to sample.

    Args:
        features, context: sizes, from the posterior or prior.
        steps: how many.
        hidden: width of each hidden layer of a step's network.
    """

    def __init__(
        self, features: int, context: int, *, steps: PositiveInt = 2, hidden: Sequence[PositiveInt] = (200,)
    ) -> None:
        super().__init__()
        self.steps = MaskedSteps(
            features, context, steps=steps, hidden=hidden, univariate=MonotonicAffineTransform, shapes=[(), ()]
        )

    def forward(self, context: Tensor | None) -> Bijection:
        return self.steps(context)
