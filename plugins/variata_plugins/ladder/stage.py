r"""One layer of a ladder network: z = N(W h) and h' = act(a z + b), on a path with noise or without."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from variata import ConfigError, Problem, Shape

EPS = 1e-5
_HORIZON = 100


def raised(h: Tensor) -> Tensor:
    """Half precision, which a product of matrices may give, as float32: means and differences of it would be coarse."""
    return h.float() if h.dtype in (torch.float16, torch.bfloat16) else h


def normalized(h: Tensor) -> Tensor:
    """N(h): each feature of `[n, features, *positions]` with mean 0 and variance 1 over the examples and positions."""
    return torch.batch_norm(h, None, None, None, None, True, 0.0, EPS, False)


def moments(h: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the variance of each feature that N takes away, `[1, features, *ones]`."""
    over = [axis for axis in range(h.ndim) if axis != 1]
    mean = h.mean(over, keepdim=True)
    return mean, (h - mean).square().mean(over, keepdim=True)


class Stage(nn.Module):
    """An affine layer whose bias is added after the normalisation, which would take it away before.

    The scale a is a parameter unless the nonlinearity is homogeneous: there the next layer, which is normalised, would
    take it away.

    Args:
        layer: `nn.Linear` or `nn.Conv2d`, of the network.
        activation: after it.
        input: shape of what it reads.
        last: whether it is the top, whose h is no longer normalised.

    Raises:
        ConfigError: a layer of another type.
    """

    mean: Tensor
    variance: Tensor
    seen: Tensor

    def __init__(self, layer: nn.Module, activation: nn.Module, input: Shape, last: bool) -> None:
        super().__init__()
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            message = f"a ladder is made of linear layers and convolutions, and this network has {type(layer).__name__}"
            raise ConfigError(Problem(message))
        self.layer, self.activation, self.input = layer, activation, input
        with torch.no_grad():
            self.output: Shape = tuple(self.preactivation(torch.zeros(1, *input)).shape[1:])
        features = self.output[0]
        homogeneous = isinstance(activation, nn.ReLU | nn.LeakyReLU) and not last
        self.scale = None if homogeneous else nn.Parameter(torch.ones(features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))
        self.register_buffer("seen", torch.zeros(()))

    def preactivation(self, h: Tensor) -> Tensor:
        """W h."""
        if isinstance(self.layer, nn.Linear):
            return raised(linear(h.flatten(1), self.layer.weight))
        return raised(self.layer._conv_forward(h, self.layer.weight, None))

    def activated(self, z: Tensor) -> Tensor:
        """act(a z + b)."""
        if self.scale is not None:
            z = z * self._per_feature(self.scale, z)
        if self.layer.bias is not None:
            z = z + self._per_feature(self.layer.bias, z)
        return self.activation(z)

    def forward(self, h: Tensor) -> Tensor:
        """h' of examples each by itself: normalised by what training saw."""
        a = self.preactivation(h)
        mean, variance = self._per_feature(self.mean, a), self._per_feature(self.variance, a)
        return self.activated((a - mean) * (variance + EPS).rsqrt())

    def updates(self, mean: Tensor, variance: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What training has seen, with one batch more: the mean of all, and later one over the last hundred or so."""
        count = self.seen + 1
        rate = 1 / count.clamp(max=_HORIZON)
        return [
            (self.mean, self.mean.lerp(mean.detach().flatten(), rate)),
            (self.variance, self.variance.lerp(variance.detach().flatten(), rate)),
            (self.seen, count),
        ]

    @staticmethod
    def _per_feature(values: Tensor, like: Tensor) -> Tensor:
        return values.view(-1, *[1] * (like.ndim - 2))
