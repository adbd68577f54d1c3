r"""p(x | z) = prod_i Laplace(x_i; mu_i(z), b) = prod_i exp(-|x_i - mu_i(z)| / b) / (2 b), a density of real x.

The best mu is a median; b is one number that is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Laplace

from variata import DataSpec, Decoder, Factory, Network, Shape, default, make


class MyPart(Decoder):
    """Independent Laplace laws of one scale.

    What stands before the * is given by the model, what stands after it is written in YAML.

    Args:
        data, latent, condition: sizes, from the model.
        network: gives mu.
    """

    models = ("real",)

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        network: Factory[Network] = default("network", "mlp"),
    ) -> None:
        super().__init__(data)
        self.dims = len(data.shape)
        self.network = make(network, input=(latent,), output=data.shape, condition=condition)
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Independent:
        mean = self.network(z, y)
        law = Laplace(mean, self.log_scale.clamp(-15, 15).exp().expand_as(mean), validate_args=False)
        return Independent(law, self.dims, validate_args=False)
