r"""The law of z = T(z_0), z_0 ~ N(mu, diag sigma^2): log q(z) = log q_0(z_0) - log |det dT/dz_0|.

A draw goes through T once, and its density comes with it. The noise is the Gaussian's, so that it has its place when
a model is evaluated. Where the prior p is a diagonal Gaussian, the divergence of the base is taken in closed form, and
at the draw only what the flow makes of it:

    KL(q || p) = KL(q_0 || p) + E[ log p(z_0) - log p(z) - log |det dT/dz_0| ]

The expectation is that of log q - log p, without its noise where T is near the identity: in every dimension that says
nothing about x, log q - log p at the draw would push the encoder about by noise of unit variance.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from variata import DiagonalNormal, Layer, StandardNormal, Unsupported, register_rsample_and_kl, rsample_and_kl

from .bijection import Bijection

_PAIRS = 16


class FlowLaw(Distribution):
    """A Gaussian's image under a bijection.

    Args:
        base: of z_0, batch shape `[*batch]`, event shape `[latent]`.
        bijection: z_0 -> z.
        constant: the same map with parameters that receive no gradient, where there is one.
    """

    has_rsample = True

    def __init__(self, base: DiagonalNormal, bijection: Bijection, constant: Bijection | None = None) -> None:
        self.base, self.bijection, self.constant = base, bijection, constant
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {}

    @property
    def support(self) -> constraints.Constraint:
        return constraints.real_vector

    @property
    def mean(self) -> Tensor:
        """An estimate by 32 fixed points of noise, the same for every example, so that it is a function of the
        parameters and what it misses cancels between examples."""
        latent = self.event_shape[0]
        noise = _fixed_noise(latent).to(self.base.mu).view(-1, *[1] * len(self.batch_shape), latent)
        return self.bijection.forward(self.base.mu + self.base.stddev * noise)[0].mean(0)

    def detached(self) -> FlowLaw:
        """The same law, with parameters that receive no gradient. The density of a draw then takes the way back from z
        to z_0: of an autoregressive posterior, a pass of each network for each dimension.

        Raises:
            Unsupported: nothing is known of the map's parameters.
        """
        if self.constant is None:
            raise Unsupported("a flow posterior of which only the map is known cannot be held constant")
        return FlowLaw(self.base.detached(), self.constant, self.constant)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.bijection.forward(self.base.rsample(sample_shape))[0]

    def log_prob(self, value: Tensor) -> Tensor:
        start, log_det = self.bijection.inverse(value)
        return self.base.log_prob(start) + log_det


@register_rsample_and_kl(FlowLaw, Distribution)
def _draw(q: FlowLaw, p: Distribution, samples: int | None) -> Layer:
    gaussian = isinstance(p, DiagonalNormal)
    start = rsample_and_kl(q.base, p if gaussian else StandardNormal(q.base.mu), samples)
    z, log_det = q.bijection.forward(start.z)
    kl = start.kl + start.log_p - p.log_prob(z) - log_det if gaussian else None
    layer = Layer(z, q, p, kl=kl, log_q=start.log_q() - log_det)
    layer.closed_form = False
    return layer


@cache
def _fixed_noise(latent: int) -> Tensor:
    """`[2 _PAIRS, latent]`, float64, symmetric about zero. Kept, so that a graph of the mean holds it as a constant."""
    half = torch.randn(_PAIRS, latent, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.cat([half, -half])
