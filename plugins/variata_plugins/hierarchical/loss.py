r"""The evidence lower bound with a price for each layer,

    minimise  -E_q[log p(x | z)] + sum_l beta_l R_l,        beta_l may be scheduled: a warm-up for each layer

    R_l = KL_l                                  Sonderby et al. (2016), arXiv:1602.02282 (one warm-up of all)
    R_l = max(lambda_l, mean KL_l)              Kingma et al. (2016), arXiv:1606.04934: free bits of a layer
    R_l = gamma_l KL_l  while beta_l < 1,       Vahdat and Kautz (2020), NVAE, arXiv:2007.03898 (appendix A): balanced
          gamma_l ~ (mean |KL_l| + 0.01) / size_l,  of mean 1

Balancing makes what a layer carries dear in proportion, for its size, so that during a warm-up no layer takes all of
the information and none is left without. Means are over the batch, and gamma is held constant. Without any of these the
loss is the `elbo`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from variata import (
    Batch,
    ConfigError,
    LatentVariable,
    Now,
    Objective,
    OnePhaseLoss,
    Problem,
    Scheduled,
    Term,
    Terms,
    gathered,
)

from .hierarchy import Hierarchy, one_for_each

_FLOOR = 0.01


class HierarchicalELBO(OnePhaseLoss):
    """The negative bound, for any model with one or more stochastic layers; lists have a value for each, the top first.
    The metrics elbo, reconstruction and kl are those of the bound itself; `kl_1` is that of z_1, next to x, and so on.

    Args:
        model: says how many layers there are, where it is a hierarchy of this plugin; of others the first step does.
        beta: weight of the KL of all layers, or of each.
        free_bits: lambda in nats, of all layers, or of each.
        balance: weigh the layers against one another while beta is below 1.
        samples: draws of z for each example.

    Raises:
        ConfigError: a negative weight, or a list of another length than there are layers.
    """

    requires = LatentVariable
    gathers = True

    def __init__(
        self,
        model: LatentVariable,
        *,
        beta: Scheduled | Sequence[Scheduled] = 1.0,
        free_bits: NonNegativeFloat | Sequence[NonNegativeFloat] = 0.0,
        balance: bool = False,
        samples: PositiveInt = 1,
    ) -> None:
        super().__init__()
        self.beta = list(beta) if isinstance(beta, Sequence) else [beta]
        self.free_bits = list(free_bits) if isinstance(free_bits, Sequence) else [free_bits]
        for value in self.beta:
            if isinstance(value, float | int) and value < 0:
                raise ConfigError(Problem(f"beta must not be negative (got {value:g})"))
        self.balance, self.samples = balance, samples
        self.couples_batch = balance or any(self.free_bits)
        if isinstance(model, Hierarchy):
            self._options(len(model.events))

    def forward(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        terms = model.terms(batch.x, batch.y, None if self.samples == 1 else self.samples)
        betas, free_bits = self._options(len(terms.layers))
        kl = [terms.mean_over_samples(layer.kl) for layer in terms.layers]
        weights = self._weights(terms, kl, [now(beta) for beta in betas])
        parts = {"distortion": Term(-terms.reconstruction)}
        for i, (value, free, weight) in enumerate(zip(kl, free_bits, weights, strict=True)):
            price = gathered(value).mean().clamp(min=free) if free else value
            parts[f"rate_{len(kl) - i}" if len(kl) > 1 else "rate"] = Term(price, weight)
        logged = {f"kl_{len(kl) - i}": value.detach() for i, value in enumerate(kl)} if len(kl) > 1 else {}
        return Objective(parts, {**terms.metrics(), **logged})

    def _options(self, layers: int) -> tuple[Sequence[Scheduled], Sequence[float]]:
        """beta and lambda of each layer."""
        return one_for_each(self.beta, layers, "beta"), one_for_each(self.free_bits, layers, "free_bits")

    def _weights(self, terms: Terms, kl: Sequence[Tensor], betas: Sequence[float | Tensor]) -> Sequence[Any]:
        """What multiplies each layer's price."""
        if not self.balance:
            return betas
        sizes = [layer.q.event_shape.numel() for layer in terms.layers]
        gamma = balanced([gathered(value.detach()) for value in kl], sizes)
        return [
            torch.where(torch.as_tensor(beta < 1, device=own.device), beta * own, beta)
            for beta, own in zip(betas, gamma, strict=True)
        ]


def balanced(kl: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """gamma, `[layers]`, of mean 1.

    Args:
        kl: of each layer, `[batch]`.
        sizes: how many dimensions each layer has.
    """
    carried = torch.stack([value.abs().mean() for value in kl]) + _FLOOR
    share = carried / torch.tensor(sizes, dtype=carried.dtype, device=carried.device)
    return share / share.mean()
