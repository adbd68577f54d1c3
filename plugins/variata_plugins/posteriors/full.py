r"""q(z | x) = N(mu, L L'), with L lower triangular: z = mu + L e, e ~ N(0, I), log det L L' = 2 sum_j log L_jj.

The network gives mu, log L_jj^2 and what is below the diagonal: 2 d + d (d - 1) / 2 numbers for d latent dimensions.

Kingma and Welling (2019), An Introduction to Variational Autoencoders, arXiv:1906.02691, section 2.5.1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, register_kl

from variata import (
    DataSpec,
    DiagonalNormal,
    Encoder,
    Factory,
    Layer,
    Network,
    Shape,
    StandardNormal,
    default,
    make,
    register_rsample_and_kl,
    rsample_and_kl,
)

from .divergence import kl_from_diagonal

_LOGVAR_BOUND = 30.0


class FullNormal(MultivariateNormal):
    """torch's law, which can be held constant, and whose draws have their place."""

    def detached(self) -> FullNormal:
        """The same law, with parameters that receive no gradient."""
        return FullNormal(self.loc.detach(), scale_tril=self.scale_tril.detach(), validate_args=False)


class FullGaussianEncoder(Encoder):
    """A Gaussian posterior with a full covariance.

    Args:
        data, latent, condition: sizes, from the model.
        network: gives mu, log L_jj^2 and L below its diagonal, packed.
    """

    below: Tensor

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        network: Factory[Network] = default("network", "mlp"),
    ) -> None:
        super().__init__()
        self.latent = latent
        size = 2 * latent + latent * (latent - 1) // 2
        self.network = make(network, input=data.shape, output=(size,), condition=condition)
        self.register_buffer("below", torch.tril_indices(latent, latent, -1), persistent=False)

    def forward(self, x: Tensor, y: Tensor | None = None) -> FullNormal:
        packed = self.network(x, y)
        if packed.dtype in (torch.float16, torch.bfloat16):  # no triangular system is solved in half precision
            packed = packed.float()
        mean, logvar, rest = packed.tensor_split([self.latent, 2 * self.latent], dim=-1)
        factor = torch.diag_embed((0.5 * logvar.clamp(-_LOGVAR_BOUND, _LOGVAR_BOUND)).exp())
        factor[..., self.below[0], self.below[1]] = rest
        return FullNormal(mean, scale_tril=factor, validate_args=False)


@register_kl(FullNormal, DiagonalNormal)
def _kl(q: FullNormal, p: DiagonalNormal) -> Tensor:
    return kl_from_diagonal(q, p)


@register_rsample_and_kl(FullNormal, Distribution)
def _draw(q: FullNormal, p: Distribution, samples: int | None) -> Layer:
    standard = StandardNormal(q.loc)
    noise = rsample_and_kl(standard, standard, samples)
    factor = q.scale_tril
    z = q.loc + (factor @ noise.z.unsqueeze(-1)).squeeze(-1)
    log_q = noise.log_q() - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return Layer(z, q, p, kl=kl_from_diagonal(q, p) if isinstance(p, DiagonalNormal) else None, log_q=log_q)
