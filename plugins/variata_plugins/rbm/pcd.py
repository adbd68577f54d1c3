r"""Persistent contrastive divergence: the chains are kept from step to step, and take k sweeps in each. The weights
move slowly beside the chains, so vk is close to a draw from the model. The chains belong to the loss, and move when
the optimiser has taken the step.

Tieleman (2008), Training restricted Boltzmann machines using approximations to the likelihood gradient. Younes (1999),
On the convergence of Markovian stochastic algorithms with rapidly decreasing ergodicity rates.
"""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor

from variata import Energy

from .contrastive import Contrastive, Examples, Negatives, Sparsity


class PersistentContrastiveDivergence(Contrastive):
    """PCD-k.

    Args:
        model: gives the sizes.
        k: sweeps in each step.
        chains: how many; they start at training examples.
        sparsity: of the hidden units.
    """

    per_process = ("chains.x",)

    def __init__(
        self, model: Energy, *, k: PositiveInt = 1, chains: PositiveInt = 100, sparsity: Sparsity | None = None
    ) -> None:
        super().__init__(model, sparsity)
        self.k, self.chains = k, Examples(chains, model.spec.shape)

    def negatives(self, model: Energy, x: Tensor) -> Negatives:
        state = self.chains.x
        for _ in range(self.k):
            state = model.gibbs(state)
        return Negatives(state, updates=[(self.chains.x, state)])
