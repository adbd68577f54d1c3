r"""p(x | z) = prod_i theta_i^x_i (1 - theta_i)^(1 - x_i),  theta = sigmoid(network(z)): a law of binary x alone.

Of grey values it is neither a probability nor a density (docs/mathematics.md), and data that has them is refused.
"""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Bernoulli, Independent

from variata import DataSpec, Decoder, Factory, Network, Shape, default, make


class BernoulliDecoder(Decoder):
    """Independent binary values.

    Args:
        data, latent, condition: sizes, from the model.
        network: gives the logits of theta.
    """

    models = ("binary",)

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        network: Factory[Network] = default("network", "mlp"),
    ) -> None:
        super().__init__(data)
        self.event_dims = len(data.shape)
        self.network = make(network, input=(latent,), output=data.shape, condition=condition)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Independent:
        law = Bernoulli(logits=self.network(z, y), validate_args=False)
        return Independent(law, self.event_dims, validate_args=False)
