r"""A hierarchy of many small layers, each of which adds to a state h, from a learned constant to x:

    p(z_l | h) = N(mu_p(h), diag sigma_p(h)^2)
    q(z_l | h, x) = N(mu_p + dmu, diag (sigma_p dsigma)^2),   dmu, log dsigma^2 from [h | what was seen of x]
    h <- block(h + W z_l),        p(x | h) at last

    KL(q || p) = 1/2 sum [ dmu^2 / sigma_p^2 + dsigma^2 - log dsigma^2 - 1 ]

q is written relative to p, so that where x says nothing the KL is zero whatever p is. Of images, the state is an image
of features, small at first and twice as large at each scale (pixels repeated); each layer is an image of `latent`
channels of that size, and what is seen of x comes from a path of the same blocks downwards in size (averages).

Kingma et al. (2016), arXiv:1606.04934 (section 5, the residual top-down model). Vahdat and Kautz (2020), NVAE: A Deep
Hierarchical Variational Autoencoder, arXiv:2007.03898 (q relative to p). Child (2021), Very Deep VAEs Generalize
Autoregressive Models and Can Outperform Them on Images, arXiv:2011.10650 (the state). Small ones, of these blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import avg_pool2d, interpolate

from variata import ConfigError, DataSpec, Decoder, DiagonalNormal, Factory, Features, Problem, Shape, make

from .blocks import Block, Projection, layer_of
from .hierarchy import Draw, Hierarchy, beside


class ResidualVAE(Hierarchy):
    """A residual hierarchy, the top layer first.

    Args:
        data: what an example is.
        latent: channels of each layer, or its dimensions where the state is a vector.
        width: features of the state.
        groups: how many layers there are at each scale, the smallest first; the last scale has the size of x, and may
            have none. For `mlp` one number.
        blocks: "conv" for images; "mlp" makes a vector of any data.
        decoder: p(x | h), given the last state as one vector; the network `readout` reads it as an image again.
        condition: let all blocks depend on the data's labels (or condition vectors).

    Raises:
        ConfigError: convolutions of what is no image, more scales than a vector has, no layers at all, or a condition
            that the data lacks.
    """

    tables = True

    def __init__(
        self,
        data: DataSpec,
        *,
        latent: PositiveInt = 4,
        width: PositiveInt = 32,
        groups: Annotated[Sequence[NonNegativeInt], Field(min_length=1)] = (1, 2, 2),
        blocks: Literal["conv", "mlp"] = "conv",
        decoder: Factory[Decoder],
        condition: bool = False,
    ) -> None:
        if blocks == "conv" and not data.is_image:
            raise ConfigError(Problem(f"conv needs images, and the data is {data.describe()}: set model.blocks=mlp"))
        if blocks == "mlp" and len(groups) > 1:
            raise ConfigError(Problem(f"a vector has one scale: write groups: [{sum(groups)}] (got {list(groups)})"))
        if not sum(groups):
            raise ConfigError(Problem("groups has no layers: give one scale at least one"))
        sides = [()] if blocks == "mlp" else _sides(data.shape, len(groups))
        places = [(scale, (latent, *sides[scale])) for scale, count in enumerate(groups) for _ in range(count)]
        super().__init__(data, [event for _, event in places], condition)
        given = data.condition_shape if condition else None
        states = [(width, *side) for side in sides]
        self.scales, self.sides = [scale for scale, _ in places], sides
        self.features = Features(data)

        def block(input: Shape, output: Shape) -> Block:
            return Block(input, output, given, width=width)

        stem = (math.prod(self.features.spec.shape),) if blocks == "mlp" else data.shape
        self.stem = layer_of(stem, states[-1])
        self.upward = nn.ModuleList(block(state, state) for state in states)
        self.start = nn.Parameter(torch.zeros(states[0]))
        self.priors, self.posteriors = nn.ModuleList(), nn.ModuleList()
        self.added, self.after = nn.ModuleList(), nn.ModuleList()
        for scale, event in places:
            state, packed = states[scale], (2 * latent, *sides[scale])
            self.priors.append(block(state, packed))
            self.posteriors.append(block((2 * width, *sides[scale]), packed))
            self.added.append(Projection(event, state))
            self.after.append(block(state, state))
        self.decoder = make(decoder, data=data, latent=math.prod(states[-1]), condition=given)

    def read(self, x: Tensor, y: tuple[Tensor, ...], draw: Draw) -> Sequence[Tensor]:
        x = self.features(x)
        h = self.stem(x if len(self.sides[-1]) else x.flatten(1))
        seen: dict[int, Tensor] = {}
        for scale in reversed(range(len(self.sides))):
            h = seen[scale] = self.upward[scale](h, *y)
            h = avg_pool2d(h, 2, ceil_mode=True) if scale else h
        return [seen[scale] for scale in self.scales]

    def begin(self, lead: torch.Size) -> Tensor:
        return self._resized(self.start.expand(*lead, *self.start.shape), self.scales[0])

    def prior_of(self, layer: int, state: Tensor | None, y: tuple[Tensor, ...]) -> DiagonalNormal:
        return self._law(self.priors[layer](state, *y))

    def posterior_of(
        self, layer: int, seen: Tensor, state: Tensor | None, p: Distribution, y: tuple[Tensor, ...]
    ) -> DiagonalNormal:
        assert isinstance(p, DiagonalNormal)
        assert state is not None
        event_dims = len(self.events[layer])
        change = self._law(self.posteriors[layer](beside(state, seen, event_dims), *y))
        return DiagonalNormal(p.mu + change.mu, p.logvar + change.logvar, event_dims)

    def below(self, layer: int, state: Tensor | None, z: Tensor, y: tuple[Tensor, ...]) -> Tensor:
        h = self.after[layer](state + self.added[layer](z), *y)
        return self._resized(h, [*self.scales[1:], len(self.sides) - 1][layer])

    def likelihood(self, state: Tensor, y: tuple[Tensor, ...]) -> Distribution:
        return self.decoder(state.flatten(state.ndim - len(self.start.shape)), *y)

    def _law(self, packed: Tensor) -> DiagonalNormal:
        event_dims = len(self.events[0])
        mean, logvar = packed.chunk(2, dim=-event_dims)
        return DiagonalNormal(mean, logvar, event_dims)

    def _resized(self, h: Tensor, scale: int) -> Tensor:
        """The state at another scale, pixels repeated."""
        sides = self.sides[scale]
        if tuple(h.shape[h.ndim - len(sides) :]) == sides:
            return h
        lead = h.shape[:-3]
        return interpolate(h.reshape(-1, *h.shape[-3:]), size=sides, mode="nearest").unflatten(0, lead)


def _sides(shape: Shape, scales: int) -> list[tuple[int, ...]]:
    """(height, width) at each scale, the smallest first: each is half of the next, rounded up."""
    sides = [tuple(shape[1:])]
    for _ in range(scales - 1):
        sides.insert(0, tuple(math.ceil(side / 2) for side in sides[0]))
    return sides
