r"""A logistic law cut into the data's bins. With F(t) = sigmoid((t - mu) / s) and levels 0 .. L - 1,

    P(k) = F(k + 1/2) - F(k - 1/2),    P(0) = F(1/2),    P(L - 1) = 1 - F(L - 3/2),

which sums to one. The difference is never taken: with a = (k - 1/2 - mu) / s and b = a + 1 / s,

    sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(-1 / s)).

Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016), Improving Variational Inference with Inverse
Autoregressive Flow, arXiv:1606.04934. Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++, arXiv:1701.05517.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from variata import DataSpec, Decoder, Factory, Network, Shape, default, make

from .levels import LawOfLevels, Levels
from .parameters import packed_shape, unpacked

LOCATION_BOUND = 1e6
LOG_SCALE_BOUND = 12.0


class DiscretizedLogisticDecoder(Decoder):
    """Independent levels, near ones alike.

    Args:
        data, latent, condition: sizes, from the model.
        scale: "per_output" lets the network give a scale for each element, "shared" learns one for all.
        network: gives the location, 0 in the middle of the levels and +-1 at their ends, and the logarithm of the scale
            in units of half their range.
    """

    models = ("levels",)

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        scale: Literal["shared", "per_output"] = "per_output",
        network: Factory[Network] = default("network", "mlp"),
    ) -> None:
        super().__init__(data)
        self.shape, self.levels = data.shape, Levels(data)
        self.count = 2 if scale == "per_output" else 1
        output = packed_shape(data.shape, self.count)
        self.network = make(network, input=(latent,), output=output, condition=condition)
        self.log_scale = nn.Parameter(torch.zeros(())) if scale == "shared" else None

    def forward(self, z: Tensor, y: Tensor | None = None) -> DiscretizedLogistic:
        location, *learned = unpacked(self.network(z, y), self.shape, self.count).unbind(-1)
        log_scale = learned[0] if self.log_scale is None else self.log_scale
        half = (self.levels.count - 1) / 2
        location = half * (1 + location.clamp(-LOCATION_BOUND, LOCATION_BOUND))
        scale = half * log_scale.clamp(-LOG_SCALE_BOUND, LOG_SCALE_BOUND).exp()
        return DiscretizedLogistic(self.levels, location, scale.expand_as(location), len(self.shape))


class DiscretizedLogistic(LawOfLevels):
    """Independent logistic laws, cut into bins of width one.

    Args:
        levels: the levels.
        location, scale: mu and s in units of levels, `[*batch, *event]`, of one shape.
        event_dims: how many axes are one event.
    """

    def __init__(self, levels: Levels, location: Tensor, scale: Tensor, event_dims: int) -> None:
        super().__init__(levels, location.shape, event_dims)
        self.location, self.scale = location, scale

    def log_prob_of_level(self, index: Tensor) -> Tensor:
        lower = (index - 0.5 - self.location) / self.scale
        upper = (index + 0.5 - self.location) / self.scale
        below, above = logsigmoid(upper), logsigmoid(-lower)
        between = below + above + torch.log(-torch.expm1(-1 / self.scale))
        inside = torch.where(index < 0.5, below, between)
        return torch.where(index > self.levels.count - 1.5, above, inside)

    def sample_level(self, shape: torch.Size) -> Tensor:
        smallest = torch.finfo(self.location.dtype).tiny
        uniform = torch.rand(shape, dtype=self.location.dtype, device=self.location.device).clamp(min=smallest)
        drawn = self.location + self.scale * (uniform.log() - torch.log1p(-uniform))
        return drawn.round().clamp(0, self.levels.count - 1)

    def mean_level(self) -> Tensor:
        """sum_k P(level >= k), k = 1 .. L - 1."""
        total = torch.zeros_like(self.location)
        for k in range(1, self.levels.count):
            total += torch.sigmoid((self.location - k + 0.5) / self.scale)
        return total
