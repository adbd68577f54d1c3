r"""p(x | z) = prod_i theta_i^x_i (1 - theta_i)^(1 - x_i),  theta = sigmoid(network(z) + c): a law of binary x alone.

c is the logit of the training examples' mean, so that training begins at the independent law of each element instead
of a half everywhere (Burda, Grosse and Salakhutdinov, 2016, Importance Weighted Autoencoders, arXiv:1509.00519, do
the same by the bias of the last layer). Of grey values the law is neither a probability nor a density
(docs/mathematics.md), and data that has them is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import binary_cross_entropy_with_logits

from variata import Batch, DataSpec, Decoder, Factory, Network, Prepares, Shape, default, make


class BernoulliDecoder(Decoder, Prepares):
    """Independent binary values. Before `variata.prepare`, c is zero.

    Args:
        data, latent, condition: sizes, from the model.
        network: gives the logits of theta, less c.
    """

    models = ("binary",)
    offset: Tensor

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
        self.register_buffer("offset", torch.zeros(data.shape))

    def forward(self, z: Tensor, y: Tensor | None = None) -> IndependentBernoulli:
        return IndependentBernoulli(self.network(z, y) + self.offset, self.event_dims)

    def prepare(self, stream: Iterable[Batch]) -> None:
        """c = log (ones + 1) / (zeros + 1) of each element."""
        ones, examples = torch.zeros_like(self.offset, dtype=torch.float64), 0
        for batch in stream:
            ones += batch.x.sum(0)
            examples += len(batch)
        self.offset.copy_(((ones + 1) / (examples - ones + 1)).log())


class IndependentBernoulli(Distribution):
    """Independent Bernoulli laws over the last `event_dims` axes. torch's `Bernoulli` in its `Independent` is the
    same law, and goes through the elements once more in each direction: it negates before it sums.

    Args:
        logits: log theta / (1 - theta), `[*batch, *event]`.
        event_dims: how many axes are one event.
    """

    def __init__(self, logits: Tensor, event_dims: int) -> None:
        self.logits = logits
        split = logits.ndim - event_dims
        super().__init__(logits.shape[:split], logits.shape[split:], validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {}

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.boolean, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    def log_prob(self, value: Tensor) -> Tensor:
        logits = self.logits
        if value.shape != logits.shape:
            value = value.expand(torch.broadcast_shapes(value.shape, logits.shape))
            logits = logits.expand_as(value)
        losses = binary_cross_entropy_with_logits(logits, value, reduction="none")
        return -losses.flatten(losses.ndim - len(self.event_shape)).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return torch.bernoulli(self.mean.expand(self._extended_shape(torch.Size(sample_shape))))
