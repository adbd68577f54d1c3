r"""Neural spline flow: each dimension is moved by a monotonic rational-quadratic spline of K bins on [-B, B], and stays
as it is outside; its knots depend on the dimensions before it.

It is fast in the direction that is trained: to sample in a posterior, to evaluate in a prior.

Durkan, Bekasov, Murray and Papamakarios (2019), Neural Spline Flows, arXiv:1906.04032.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from .autoregressive import MaskedSteps
from .bijection import Bijection, directed
from .flow import Direction, Flow
from .library import MonotonicRQSTransform


class NSF(Flow):
    """Spline steps.

    Args:
        features, context, direction: from the posterior or prior.
        steps: how many.
        hidden: width of each hidden layer of a step's network.
        bins: K.
        bound: B.
    """

    def __init__(
        self,
        features: int,
        context: int,
        direction: Direction,
        *,
        steps: PositiveInt = 2,
        hidden: Sequence[PositiveInt] = (200,),
        bins: PositiveInt = 8,
        bound: PositiveFloat = 5.0,
    ) -> None:
        super().__init__()
        self.direction = direction
        self.steps = MaskedSteps(
            features,
            context,
            steps=steps,
            hidden=hidden,
            univariate=partial(MonotonicRQSTransform, bound=bound),
            shapes=[(bins,), (bins,), (bins - 1,)],
        )

    def forward(self, context: Tensor | None) -> Bijection:
        return directed(self.steps(context), self.direction)
