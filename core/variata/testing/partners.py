r"""The parts that the kit puts beside the one that is checked: as plain as can be, and exact.

q(z | x[, y]) = N(W [x, y] + b, 1/4 I),    p(z) = N(0, I),    p(x | z[, y]) = N(V [z, y] + c, 1/4 I) of x as numbers
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..conditions import asked_condition, conditions_of, given_condition
from ..data import Batch, Data, DataSpec, Shape, Split, SplitName
from ..distributions import DiagonalNormal, StandardNormal, rsample_and_kl
from ..interfaces import Encoder, LatentVariable, OnePhaseLoss, Prior
from ..objective import Now, Objective, Optimizer, Term
from ..terms import Terms

LOGVAR = math.log(0.25)


class Linear(nn.Module):
    """A linear map of the elements of x, and of y where there is a condition."""

    def __init__(self, input: int, output: int, condition: Shape | None) -> None:
        super().__init__()
        self.condition = condition
        self.map = nn.Linear(input + (0 if condition is None else math.prod(condition)), output)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        if self.condition is not None:
            assert y is not None
            y = y if y.is_floating_point() else nn.functional.one_hot(y, self.condition[0])
            x = torch.cat([x, y.to(x.dtype).flatten(1).expand(*x.shape[:-1], -1)], -1)
        return self.map(x)


class LinearEncoder(Encoder):
    """A Gaussian posterior whose mean is linear and whose scale is 1/2."""

    def __init__(self, data: DataSpec, latent: int, condition: Shape | None) -> None:
        super().__init__()
        self.map, self.dims = Linear(data.dimensions, latent, condition), len(data.shape)

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        mean = self.map(x.flatten(-self.dims), y)
        return DiagonalNormal(mean, torch.full_like(mean, LOGVAR))


class StandardPrior(Prior):
    """N(0, I)."""

    origin: Tensor

    def __init__(self, data: DataSpec, latent: int, condition: Shape | None) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(latent), persistent=False)

    def forward(self, y: Tensor | None = None) -> Distribution:
        return StandardNormal(self.origin if y is None else self.origin.expand(len(y), -1))


class GaussianPartner(LatentVariable):
    """The model of these parts, whatever the data's values are.

    Args:
        data: what an example is.
        latent: dimensions of z.
        condition: shape of y, or None.
        blind: the decoder does not look at z.
    """

    def __init__(self, data: DataSpec, *, latent: int = 2, condition: Shape | None = None, blind: bool = False) -> None:
        super().__init__(data)
        self.conditional, self.conditions = condition is not None, conditions_of(data, condition is not None)
        self.blind = blind
        self.encoder, self.prior = LinearEncoder(data, latent, condition), StandardPrior(data, latent, condition)
        self.map = Linear(latent, data.dimensions, condition)

    def _law(self, z: Tensor, y: Tensor | None) -> DiagonalNormal:
        mean = self.map(torch.zeros_like(z) if self.blind else z, y).unflatten(-1, self.spec.shape)
        return DiagonalNormal(mean, torch.full_like(mean, LOGVAR), len(self.spec.shape))

    def terms(self, x: Tensor, y: Tensor | None = None, samples: int | None = None) -> Terms:
        given = given_condition(self, y)
        layer = rsample_and_kl(self.encoder(x, *given), self.prior(*given), samples)
        law = self._law(layer.z, y)
        return Terms([layer], law.log_prob(x), samples, law)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.encoder(x, *given_condition(self, y)).mean

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self._law(z, y).mean

    def generate(self, n: int, condition: Tensor | None = None) -> Distribution:
        y = asked_condition(self, n, condition)
        prior = self.prior(*given_condition(self, y))
        return self._law(prior.sample() if prior.batch_shape else prior.sample((n,)), y)


class PartnerData(Data):
    """Made-up examples of any kind, the same each time."""

    def __init__(self, spec: DataSpec, x: Tensor, y: Tensor | None = None) -> None:
        self.spec, self.x, self.y = spec, x, y

    def split(self, name: SplitName) -> Split:
        return Split(self.x, self.y)


class Descent(Optimizer):
    """Plain gradient descent."""

    lr = 0.05

    def build(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=lr)


class NegativeELBO(OnePhaseLoss):
    """The negative evidence lower bound, where a check needs some training."""

    requires = LatentVariable

    def forward(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        terms = model.terms(batch.x, batch.y)
        return Objective({"elbo": Term(-terms.elbo)}, terms.metrics())
