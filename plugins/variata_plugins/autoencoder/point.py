r"""x' = g(z): a value for each element, and no law of x. What is measured is a distance,

    squared         L(x, x') = 1/2 sum_i (x_i - x'_i)^2
    cross_entropy   L(x, x') = -sum_i [ t_i log t'_i + (1 - t_i) log(1 - t'_i) ],   t = (x - low) / (high - low)

Each has its minimum where x' is the mean of the x that belong to z. Up to a constant the first is -log N(x; x', I). The
second is -log p(x | z) for binary data (decoder `bernoulli`); of grey values it is no likelihood, nor does it fall to
zero where x' = x. So neither is reported as one.

Vincent, Larochelle, Lajoie, Bengio and Manzagol (2010), Stacked Denoising Autoencoders, section 2.2 (both errors).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import binary_cross_entropy_with_logits

from variata import ConfigError, DataSpec, Decoder, Factory, Network, Problem, Shape, Unsupported, default, make

Measure = Literal["squared", "cross_entropy"]


class PointDecoder(Decoder):
    """A point for each code.

    Args:
        data, latent, condition: sizes, from the model.
        error: what is measured: see above.
        bounded: whether a sigmoid keeps values between the data's least and greatest; by default where the error is the
            cross entropy.
        network: gives the values, before the sigmoid where there is one.

    Raises:
        ConfigError: bounds are needed, and the data has none.
    """

    models = ()

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        error: Measure = "squared",
        bounded: bool | None = None,
        network: Factory[Network] = default("network", "mlp"),
    ) -> None:
        super().__init__(data)
        bounded = error == "cross_entropy" if bounded is None else bounded
        if bounded and data.support == "real":
            raise ConfigError(Problem("this data has no bounds: set error=squared and bounded=false"))
        if error == "cross_entropy" and not bounded:
            raise ConfigError(Problem("a cross entropy needs values between bounds: remove bounded=false"))
        self.data, self.bounded = data, bounded
        self.error: Measure = error
        self.network = make(network, input=(latent,), output=data.shape, condition=condition)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Point:
        return Point(self.data, self.network(z, y), self.error, self.bounded)


class Point(Distribution):
    """A point, in the place where other decoders give a law of x.

    Args:
        data: what an example is.
        values: `[*batch, *event]`, before the sigmoid where `bounded`.
        measure, bounded: as for `PointDecoder`.
        coins: draw each element as black or white, with the probability of white that the point says; else `sample`
            is the point itself. Either way at values that the data may have.
    """

    def __init__(self, data: DataSpec, values: Tensor, measure: Measure, bounded: bool, coins: bool = False) -> None:
        self.data, self.values, self.measure, self.bounded, self.coins = data, values, measure, bounded, coins
        split = values.ndim - len(data.shape)
        super().__init__(values.shape[:split], values.shape[split:], validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {}

    @property
    def mean(self) -> Tensor:
        if not self.bounded:
            return self.values
        return self.data.low + (self.data.high - self.data.low) * self.values.sigmoid()

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        if not self.coins:
            return self.shown().expand(shape)
        white = torch.bernoulli(self.values.sigmoid().expand(shape))
        return self.data.low + (self.data.high - self.data.low) * white

    @torch.no_grad()
    def shown(self) -> Tensor:
        """The values that the data may have nearest to the point."""
        return nearest(self.mean, self.data)

    def log_prob(self, value: Tensor) -> Tensor:
        raise Unsupported(
            "a point has no density: choose a decoder that is a law of x, or a loss that measures an error, as "
            "reconstruction does"
        )

    def distance(self, value: Tensor) -> Tensor:
        """L(x, x'), `[*batch]`."""
        if self.measure == "squared":
            each = 0.5 * (value - self.mean).square()
        else:
            target = (value - self.data.low) / (self.data.high - self.data.low)
            each = binary_cross_entropy_with_logits(self.values, target.expand_as(self.values), reduction="none")
        return each.flatten(each.ndim - len(self.event_shape)).sum(-1)


def nearest(x: Tensor, data: DataSpec) -> Tensor:
    """The nearest values that the data may have."""
    if data.support == "real":
        return x
    x = x.clamp(data.low, data.high)
    if data.support == "interval":
        return x
    step = (data.high - data.low) / ((data.levels or 2) - 1)
    return data.low + ((x - data.low) / step).round() * step


def error_of(law: Distribution, x: Tensor) -> Tensor:
    """L(x, law), `[*batch]`: -log p(x | z) of a law, and the distance of a point."""
    return law.distance(x) if isinstance(law, Point) else -law.log_prob(x)


@torch.no_grad()
def error_metrics(law: Distribution, x: Tensor) -> dict[str, Tensor]:
    """What is worth logging beside an error: "mse" of the mean, for each element, `[batch]`."""
    return {"mse": (x - law.mean).square().flatten(1).mean(1)}
