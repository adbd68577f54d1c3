r"""The loop that models with several stochastic layers share, from the top layer to x:

    for each layer l, top first:   p_l = p(z_l | state),   z_l ~ q_l,   state <- state and z_l;      p(x | state)

    log p(x, z) - log q(z | x) = log p(x | state) + sum_l [ log p(z_l | state_l) - log q(z_l | ...) ]

A code of x is what z is at the means of q, the top layer as it is and each other one in the coordinates in which its
prior is N(0, I), c_l = (z_l - mu_l(state)) / sigma_l(state), side by side. So a change of an upper layer's code goes
through all layers below it, and decode(encode(x)) is the model's x at the means of q.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from variata import (
    ConfigError,
    DataSpec,
    DiagonalNormal,
    LatentVariable,
    Problem,
    Shape,
    Terms,
    asked_condition,
    conditions_of,
    given_condition,
    rsample_and_kl,
)

T = TypeVar("T")
Draw = Callable[[DiagonalNormal], Tensor]
"""A value of a Gaussian: a draw, or its mean."""


def one_for_each(parts: Sequence[T], count: int, option: str) -> list[T]:
    """What an option says of each of `count` places: a list as long, or one that is said of all.

    Raises:
        ConfigError: a list of another length.
    """
    if len(parts) not in (1, max(count, 1)):
        raise ConfigError(Problem(f"{option} needs {count} in its list, or one alone for all (got {len(parts)})"))
    return list(parts) * count if len(parts) == 1 else list(parts)


class Hierarchy(LatentVariable):
    """A latent-variable model with several layers, the top one first.

    Args:
        data: what an example is.
        events: shape of each layer.
        condition: whether everything depends on the data's labels (or condition vectors).

    Raises:
        ConfigError: a condition is asked for and the data has none.
    """

    def __init__(self, data: DataSpec, events: Sequence[Shape], condition: bool) -> None:
        super().__init__(data)
        self.events = [torch.Size(event) for event in events]
        self.conditional, self.conditions = condition, conditions_of(data, condition)

    @abstractmethod
    def read(self, x: Tensor, y: tuple[Tensor, ...], draw: Draw) -> Sequence[Any]:
        """What inference sees of x before a layer is drawn, a piece for each layer."""

    @abstractmethod
    def begin(self, lead: torch.Size) -> Tensor | None:
        """The state above the top layer, `[*lead, *state]`, where there is one."""

    @abstractmethod
    def prior_of(self, layer: int, state: Tensor | None, y: tuple[Tensor, ...]) -> Distribution:
        """p(z_l | state): of the layers below the top, a diagonal Gaussian."""

    @abstractmethod
    def posterior_of(
        self, layer: int, seen: Any, state: Tensor | None, p: Distribution, y: tuple[Tensor, ...]
    ) -> DiagonalNormal:
        """q(z_l | state, x), from its piece of what was seen."""

    @abstractmethod
    def below(self, layer: int, state: Tensor | None, z: Tensor, y: tuple[Tensor, ...]) -> Tensor:
        """The state with z_l."""

    @abstractmethod
    def likelihood(self, state: Tensor, y: tuple[Tensor, ...]) -> Distribution:
        """p(x | state), of the state below the lowest layer."""

    def terms(self, x: Tensor, y: Tensor | None = None, samples: int | None = None) -> Terms:
        given, layers = given_condition(self, y), []

        def draw(q: DiagonalNormal) -> Tensor:
            return q.rsample(() if samples is None or len(q.batch_shape) > 1 else (samples,))

        seen, state = self.read(x, given, draw), self.begin(torch.Size([len(x)]))
        for i in range(len(self.events)):
            p = self.prior_of(i, state, given)
            q = self.posterior_of(i, seen[i], state, p, given)
            # A law that depends on draws has their axis already.
            layers.append(rsample_and_kl(q, p, samples if len(q.batch_shape) < 2 else None))
            state = self.below(i, state, layers[-1].z, given)
        assert state is not None
        likelihood = self.likelihood(state, given)
        return Terms(layers, likelihood.log_prob(x), samples, likelihood)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        given, codes = given_condition(self, y), []
        seen, state = self.read(x, given, lambda q: q.mean), self.begin(torch.Size([len(x)]))
        for i in range(len(self.events)):
            p = self.prior_of(i, state, given)
            z = self.posterior_of(i, seen[i], state, p, given).mean
            codes.append((z if not i else (z - p.mean) / p.stddev).flatten(1))
            state = self.below(i, state, z, given)
        return torch.cat(codes, dim=1)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        given, state = given_condition(self, y), self.begin(z.shape[:-1])
        parts = z.split([event.numel() for event in self.events], dim=-1)
        for i, (part, event) in enumerate(zip(parts, self.events, strict=True)):
            value = part.unflatten(-1, event)
            if i:
                p = self.prior_of(i, state, given)
                value = p.mean + p.stddev * value
            state = self.below(i, state, value, given)
        assert state is not None
        return self.likelihood(state, given).mean

    def generate(self, n: int, condition: Tensor | None = None) -> Distribution:
        given, state = given_condition(self, asked_condition(self, n, condition)), self.begin(torch.Size([n]))
        for i in range(len(self.events)):
            p = self.prior_of(i, state, given)
            state = self.below(i, state, p.sample() if p.batch_shape else p.sample((n,)), given)
        assert state is not None
        return self.likelihood(state, given)


def beside(a: Tensor, b: Tensor, event_dims: int) -> Tensor:
    """[a | b] along the first axis of an event, each with the other's leading axes."""
    lead = torch.broadcast_shapes(a.shape[: a.ndim - event_dims], b.shape[: b.ndim - event_dims])
    a, b = (v.expand(*lead, *v.shape[v.ndim - event_dims :]) for v in (a, b))
    return torch.cat([a, b], dim=-event_dims)
