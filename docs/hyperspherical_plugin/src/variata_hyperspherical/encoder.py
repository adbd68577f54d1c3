r"""q(z | x) = vMF(z; mu(x), k(x)), with mu and k = softplus(.) + least from one network."""

from __future__ import annotations

from pydantic import NonNegativeFloat
from torch import Tensor
from torch.nn.functional import softplus

from variata import ConfigError, DataSpec, Encoder, Factory, Network, Problem, Shape, default, make

from .laws import VonMisesFisher


class VonMisesFisherEncoder(Encoder):
    """A posterior on the unit sphere of R^latent: `latent` counts coordinates, one more than there are degrees of
    freedom. Codes, its means, lie inside the sphere. Its prior is `hyperspherical_uniform`.

    Args:
        data, latent, condition: sizes, from the model.
        least: the least concentration; above zero, mu always matters (Davidson et al., 2018, take 1).
        network: gives mu, up to its length, and k.

    Raises:
        ConfigError: fewer than two coordinates.
    """

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        least: NonNegativeFloat = 1.0,
        network: Factory[Network] = default("network", "mlp"),
    ) -> None:
        super().__init__()
        check_latent(latent)
        self.least = least
        self.network = make(network, input=data.shape, output=(latent + 1,), condition=condition)

    def forward(self, x: Tensor, y: Tensor | None = None) -> VonMisesFisher:
        out = self.network(x, y)
        return VonMisesFisher(out[..., :-1], softplus(out[..., -1]) + self.least)


def check_latent(latent: int) -> None:
    """Refuses S^0, which is two points.

    Raises:
        ConfigError: fewer than two coordinates.
    """
    if latent < 2:
        raise ConfigError(Problem(f"a sphere needs two coordinates or more: set model.latent to 2 (got {latent})"))
