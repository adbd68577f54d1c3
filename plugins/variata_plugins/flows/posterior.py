r"""q(z | x): z_0 ~ N(mu(x), diag sigma(x)^2), then z = T(z_0; h(x)), with [mu | log sigma^2 | h] from one network.

Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, arXiv:1505.05770. Kingma et al. (2016),
Improving Variational Inference with Inverse Autoregressive Flow, arXiv:1606.04934 (the features h).
"""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor

from variata import DataSpec, DiagonalNormal, Encoder, Factory, Network, Shape, default, make

from .flow import ConstantMap, Flow
from .law import FlowLaw


class FlowEncoder(Encoder):
    """A Gaussian posterior that a flow bends.

    Args:
        data, latent, condition: sizes, from the model.
        network: gives mu, log sigma^2 and h, packed.
        flow: T; training goes through it from z_0 to z.
        context: size of h.
    """

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        network: Factory[Network] = default("network", "mlp"),
        flow: Factory[Flow] = default("flow", "iaf"),
        context: PositiveInt = 64,
    ) -> None:
        super().__init__()
        self.sizes = [latent, 2 * latent]
        self.network = make(network, input=data.shape, output=(2 * latent + context,), condition=condition)
        self.flow = make(flow, features=latent, context=context, direction="sample")

    def forward(self, x: Tensor, y: Tensor | None = None) -> FlowLaw:
        mean, logvar, h = self.network(x, y).tensor_split(self.sizes, dim=-1)
        return FlowLaw(DiagonalNormal(mean, logvar), self.flow(h), ConstantMap(self.flow, h))
