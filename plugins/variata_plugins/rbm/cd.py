r"""Contrastive divergence: each chain starts at its example, and takes k sweeps. vk is close to v0, so the estimate
has little variance and a bias that k reduces; modes far from the data are never pushed up.

Hinton (2002), Training products of experts by minimizing contrastive divergence. Carreira-Perpinan and Hinton (2005),
On contrastive divergence learning (the bias).
"""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor

from variata import Energy

from .contrastive import Contrastive, Negatives, Sparsity


class ContrastiveDivergence(Contrastive):
    """CD-k.

    Args:
        model: gives the sizes.
        k: sweeps from each example.
        sparsity: of the hidden units.
    """

    def __init__(self, model: Energy, *, k: PositiveInt = 1, sparsity: Sparsity | None = None) -> None:
        super().__init__(model, sparsity)
        self.k = k

    def negatives(self, model: Energy, x: Tensor) -> Negatives:
        for _ in range(self.k):
            x = model.gibbs(x)
        return Negatives(x)
