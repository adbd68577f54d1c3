r"""x is a sum of few of many atoms, and noise:

    p(z) = the prior,    p(x | z) = N(x; c + sum_j z_j d_j, s^2 I),    |d_j| = 1,    q(z | x) = the encoder.

The maximum of q's mean stands in for the search that sparse coding does for each x.

Olshausen and Field (1996), Emergence of Simple-Cell Receptive Field Properties by Learning a Sparse Code for Natural
Images.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import normalize

from variata import (
    ConfigError,
    DataSpec,
    DiagonalNormal,
    Encoder,
    Factory,
    LatentVariable,
    Prior,
    Problem,
    Terms,
    default,
    make,
    rsample_and_kl,
)


class SparseCoding(LatentVariable):
    """A dictionary with sparse codes.

    Args:
        data: what an example is: real numbers.
        latent: how many atoms there are.
        encoder: q(z | x).
        prior: p(z).
        noise: s, where it begins: small, or codes cost more at first than they are worth.

    Raises:
        ConfigError: the data has no density.
    """

    variance: Tensor

    def __init__(
        self,
        data: DataSpec,
        *,
        latent: PositiveInt,
        encoder: Factory[Encoder] = default("encoder", "gaussian"),
        prior: Factory[Prior] = default("prior", "laplace"),
        noise: PositiveFloat = 0.1,
    ) -> None:
        super().__init__(data)
        if data.support not in ("real", "interval"):
            raise ConfigError(
                Problem(f"sparse_coding is a density of real numbers, and the data is {data.describe()}: dequantize it")
            )
        given: dict[str, Any] = {"data": data, "latent": latent, "condition": None}
        self.encoder, self.prior = make(encoder, **given), make(prior, **given)
        self.atoms = nn.Parameter(0.05 * torch.randn(latent, data.dimensions))
        self.centre = nn.Parameter(torch.zeros(data.dimensions))
        self.register_buffer("variance", torch.tensor(noise**2))

    def dictionary(self) -> Tensor:
        """d, `[latent, dimensions]`, each of length one: else z could shrink as d grows, and cost nothing."""
        return normalize(self.atoms, dim=1)

    def likelihood(self, z: Tensor) -> DiagonalNormal:
        """p(x | z) of `[*lead, latent]`."""
        mean = (z @ self.dictionary() + self.centre).unflatten(-1, self.spec.shape)
        return DiagonalNormal(mean, self.variance.log().expand_as(mean), len(self.spec.shape))

    def terms(self, x: Tensor, y: Tensor | None = None, samples: int | None = None) -> Terms:
        layer = rsample_and_kl(self.encoder(x), self.prior(), samples)
        likelihood = self.likelihood(layer.z)
        return Terms([layer], likelihood.log_prob(x), samples, likelihood)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.encoder(x).mean

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.likelihood(z).mean

    def generate(self, n: int, condition: Tensor | None = None) -> DiagonalNormal:
        return self.likelihood(self.prior().sample((n,)))
