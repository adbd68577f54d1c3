r"""q(z | x) = N(mu, D + W W'), with W of a few columns: z = mu + D^1/2 e + W f, where e and f are standard normal.

The network gives mu, log D_jj and W: (2 + rank) d numbers for d latent dimensions. log q takes the inverse of a matrix
of rank x rank alone, by the formula of Woodbury.

Ong, Nott and Smith (2018), Gaussian Variational Approximation with a Factor Covariance Structure, arXiv:1701.03208.
Tomczak, Swaroop and Turner (2020), Efficient Low Rank Gaussian Variational Inference for Neural Networks.
"""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor
from torch.distributions import Distribution, LowRankMultivariateNormal, register_kl

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


class LowRankNormal(LowRankMultivariateNormal):
    """torch's law, which can be held constant, and whose draws have their place."""

    def detached(self) -> LowRankNormal:
        """The same law, with parameters that receive no gradient."""
        return LowRankNormal(*(p.detach() for p in (self.loc, self.cov_factor, self.cov_diag)), validate_args=False)


class LowRankGaussianEncoder(Encoder):
    """A Gaussian posterior with a covariance of low rank plus a diagonal.

    Args:
        data, latent, condition: sizes, from the model.
        rank: columns of W.
        network: gives mu, log D_jj and W, packed.
    """

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        rank: PositiveInt = 4,
        network: Factory[Network] = default("network", "mlp"),
    ) -> None:
        super().__init__()
        self.latent, self.rank = latent, rank
        self.network = make(network, input=data.shape, output=((2 + rank) * latent,), condition=condition)

    def forward(self, x: Tensor, y: Tensor | None = None) -> LowRankNormal:
        mean, logvar, factor = self.network(x, y).tensor_split([self.latent, 2 * self.latent], dim=-1)
        variance = logvar.clamp(-_LOGVAR_BOUND, _LOGVAR_BOUND).exp()
        return LowRankNormal(mean, factor.unflatten(-1, (self.latent, self.rank)), variance, validate_args=False)


@register_kl(LowRankNormal, DiagonalNormal)
def _kl(q: LowRankNormal, p: DiagonalNormal) -> Tensor:
    return kl_from_diagonal(q, p)


@register_rsample_and_kl(LowRankNormal, Distribution)
def _draw(q: LowRankNormal, p: Distribution, samples: int | None) -> Layer:
    latent, rank = q.cov_factor.shape[-2:]
    standard = StandardNormal(q.loc.new_zeros(*q.batch_shape, latent + rank))
    e, f = rsample_and_kl(standard, standard, samples).z.split([latent, rank], dim=-1)
    z = q.loc + q.cov_diag.sqrt() * e + (q.cov_factor @ f.unsqueeze(-1)).squeeze(-1)
    return Layer(z, q, p, kl=kl_from_diagonal(q, p) if isinstance(p, DiagonalNormal) else None)
