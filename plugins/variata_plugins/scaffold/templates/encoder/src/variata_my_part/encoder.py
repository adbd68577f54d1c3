r"""q(z | x) = prod_j Laplace(z_j; mu_j(x), b_j(x)), with [mu | log b] from one network.

    KL(q || N(0, I)) = sum_j [ (mu_j^2 + 2 b_j^2 + log 2 pi) / 2 - 1 - log 2 b_j ]

in closed form, since E z^2 = mu^2 + 2 b^2 and the entropy of a Laplace law is 1 + log 2b.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.distributions import Independent, Laplace, register_kl

from variata import DataSpec, Encoder, Factory, Network, Shape, StandardNormal, default, make


class FactorizedLaplace(Independent):
    """Independent Laplace laws, `[*batch, latent]`."""

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__(Laplace(mean, scale, validate_args=False), 1, validate_args=False)

    def detached(self) -> FactorizedLaplace:
        """The same law, with parameters that receive no gradient: for bounds that hold q constant."""
        return FactorizedLaplace(self.base_dist.loc.detach(), self.base_dist.scale.detach())


@register_kl(FactorizedLaplace, StandardNormal)
def _kl(q: FactorizedLaplace, p: StandardNormal) -> Tensor:
    mean, scale = q.base_dist.loc, q.base_dist.scale
    second_moment = mean.square() + 2 * scale.square()
    return (0.5 * (second_moment + math.log(2 * math.pi)) - 1 - (2 * scale).log()).sum(-1)


class MyPart(Encoder):
    """A factorised Laplace posterior.

    What stands before the * is given by the model, what stands after it is written in YAML.

    Args:
        data, latent, condition: sizes, from the model.
        network: gives mu and log b, packed.
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

    def forward(self, x: Tensor, y: Tensor | None = None) -> FactorizedLaplace:
        mean, log_scale = self.network(x, y).chunk(2, dim=-1)
        return FactorizedLaplace(mean, log_scale.clamp(-15, 15).exp())
