r"""p(x | z) = prod_i C(theta_i) theta_i^x_i (1 - theta_i)^(1 - x_i) on [0, 1]: a Bernoulli's form with the constant
that makes it a density,

    C(theta) = l / tanh(l / 2),  l = log(theta / (1 - theta)),  C(1/2) = 2.

Loaiza-Ganem and Cunningham (2019), The continuous Bernoulli: fixing a pervasive error in variational autoencoders,
arXiv:1907.06845.
"""

from __future__ import annotations

from torch import Tensor
from torch.distributions import ContinuousBernoulli, Independent

from variata import ConfigError, DataSpec, Decoder, Factory, Network, Problem, Shape, default, make


class ContinuousBernoulliDecoder(Decoder):
    """Independent numbers between 0 and 1.

    Args:
        data, latent, condition: sizes, from the model.
        network: gives the logits of theta.

    Raises:
        ConfigError: the data lies in another interval.
    """

    models = ("interval",)

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        network: Factory[Network] = default("network", "mlp"),
    ) -> None:
        super().__init__(data)
        if (data.low, data.high) != (0.0, 1.0):
            raise ConfigError(
                Problem(f"is a law of numbers in [0, 1], and the data is {data.describe()}: set data.scale to [0, 1]")
            )
        self.event_dims = len(data.shape)
        self.network = make(network, input=(latent,), output=data.shape, condition=condition)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Independent:
        law = ContinuousBernoulli(logits=self.network(z, y), validate_args=False)
        return Independent(law, self.event_dims, validate_args=False)
