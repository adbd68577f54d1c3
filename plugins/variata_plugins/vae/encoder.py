r"""q(z | x) = N(mu(x), diag(sigma(x)^2)), with [mu | log sigma^2] from one network."""

from __future__ import annotations

from torch import Tensor

from variata import DataSpec, DiagonalNormal, Encoder, Factory, Network, Shape, default, make


class GaussianEncoder(Encoder):
    """A diagonal Gaussian posterior.

    Args:
        data, latent, condition: sizes, from the model.
        network: gives mu and log sigma^2, packed.
    """

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        network: Factory[Network] = default("network", "mlp"),
    ) -> None:
        super().__init__()
        self.network = make(network, input=data.shape, output=(2 * latent,), condition=condition)

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        return DiagonalNormal.packed(self.network(x, y))
