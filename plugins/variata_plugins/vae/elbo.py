r"""The evidence lower bound, and what is done to its KL term.

minimise  -E_q[log p(x | z)] + R

R = beta KL                                             Higgins et al. (2017), beta-VAE (beta = 1: the ELBO)
R = beta sum_j max(lambda, mean over the batch of KL_j) Kingma et al. (2016), arXiv:1606.04934: free bits
R = beta sum_j max(lambda, KL_j)                        the same for each example
R = gamma |mean KL - C|                                 Burgess et al. (2018), arXiv:1804.03599: capacity
"""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
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


class ELBO(OnePhaseLoss):
    """The negative evidence lower bound. The metrics elbo, reconstruction and kl are always at beta = 1 and without
    free bits.

    Args:
        beta: weight of the KL term.
        samples: draws of z for each example.
        free_bits: lambda in nats, for each latent dimension's mean over the batch.
        free_bits_per_example: lambda in nats, for each latent dimension of each example.
        capacity: C in nats; replaces the KL term by gamma |mean KL - C|.
        gamma: weight of that, 100 where nothing is said.

    Raises:
        ConfigError: options that exclude each other.
    """

    requires = LatentVariable
    gathers = True

    def __init__(
        self,
        *,
        beta: Scheduled = 1.0,
        samples: PositiveInt = 1,
        free_bits: NonNegativeFloat = 0.0,
        free_bits_per_example: NonNegativeFloat = 0.0,
        capacity: Scheduled | None = None,
        gamma: PositiveFloat | None = None,
    ) -> None:
        super().__init__()
        chosen = [
            name
            for name, value in [("free_bits", free_bits), ("free_bits_per_example", free_bits_per_example)]
            if value
        ]
        chosen += ["capacity"] if capacity is not None else []
        if len(chosen) > 1:
            raise ConfigError(Problem(f"{' and '.join(chosen)} exclude each other: keep one"))
        if capacity is not None and beta != 1.0:
            raise ConfigError(Problem("capacity replaces beta: write gamma instead"))
        if gamma is not None and capacity is None:
            raise ConfigError(Problem("gamma weighs a capacity, and there is none: set capacity or remove gamma"))
        for name, value in (("beta", beta), ("capacity", capacity)):
            if isinstance(value, float | int) and value < 0:
                raise ConfigError(Problem(f"{name} must not be negative (got {value:g})"))
        self.beta, self.samples, self.capacity, self.gamma = beta, samples, capacity, gamma or 100.0
        self.free_bits, self.free_bits_per_example = free_bits, free_bits_per_example
        self.couples_batch = bool(free_bits) or capacity is not None

    def forward(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        return self.of_terms(model.terms(batch.x, batch.y, None if self.samples == 1 else self.samples), now)

    def of_terms(self, terms: Terms, now: Now) -> Objective:
        """The same of terms that were drawn already: for a loss that needs these draws for more."""
        distortion = Term(-terms.reconstruction)
        return Objective({"distortion": distortion, "rate": self._rate(terms, now)}, terms.metrics())

    def _rate(self, terms: Terms, now: Now) -> Term:
        if self.capacity is not None:
            return Term((gathered(terms.kl).mean() - now(self.capacity)).abs(), self.gamma)
        if self.free_bits:
            kl = gathered(_per_dimension(terms))
            return Term(kl.mean(0).clamp(min=self.free_bits).sum(), now(self.beta))
        if self.free_bits_per_example:
            kl = _per_dimension(terms)
            return Term(kl.clamp(min=self.free_bits_per_example).sum(-1), now(self.beta))
        return Term(terms.kl, now(self.beta))


def _per_dimension(terms: Terms) -> Tensor:
    """KL of every latent dimension of every layer, `[batch, dimensions]`."""
    rows = [layer.kl_per_dimension().flatten(-len(layer.q.event_shape)) for layer in terms.layers]
    return torch.cat([terms.mean_over_samples(row, event_dims=1) for row in rows], dim=1)
