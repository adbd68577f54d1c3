r"""Layers h_1 .. h_L above x = h_0, with weights that serve in both directions,

    h_i = n'( s( n( c_i + h_{i-1} W_i + h_{i+1} W_{i+1}^T ) ) ),     P(x | h_1) by the field  c_0 + h_1 W_1^T,

where n and n' are the noise before and after the nonlinearity s. One step corrupts x, draws the odd layers given their
neighbours, then the even ones, and at last x. Weights and biases are all that there is to learn. A condition y, a class
as a one-hot vector, adds y U_i to the biases c_i of the hidden layers.

Bengio, Thibodeau-Laufer, Alain and Yosinski (2014), Deep Generative Stochastic Networks Trainable by Backprop,
arXiv:1306.1091 (figure 4, section 5.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent
from torch.nn.functional import one_hot

from variata import Corruption, DataSpec, Factory, conditions_of, default, given_condition, make
from variata_plugins.autoencoder.chain import DenoisingChain, IndependentElements, State
from variata_plugins.autoencoder.point import Point

_ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh}


class GSN(DenoisingChain):
    """A generative stochastic network. What x is given h_1 follows from the data. Of binary values it is Bernoulli. Of
    others with bounds it is a point, whose error is the cross entropy; the chain goes on from a coin for each element,
    as with binary values, and shows the point. Of values without bounds it is a point, whose error is half the square.

    Its codes are all hidden layers, without noise.

    Args:
        data: what an example is.
        hidden: how many units each layer has, from the lowest.
        corruption: C.
        before, after: noise before and after the nonlinearity of hidden units; null for none.
        condition: let the hidden layers depend on the data's labels (or condition vectors).
        activation: s. With tanh h and -h are nearly alike, and chains of a network that has seen little training end in
            inverted images, which it never saw.
        burn_in, chains, thinning: as for every `Chain`, in steps.

    Raises:
        ConfigError: a condition is asked for and the data has none.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        hidden: Annotated[Sequence[PositiveInt], Field(min_length=1)],
        corruption: Factory[Corruption] = default("corruption", "salt_and_pepper"),
        before: Factory[Corruption] | None = None,
        after: Factory[Corruption] | None = None,
        condition: bool = False,
        activation: Literal["sigmoid", "tanh"] = "sigmoid",
        burn_in: NonNegativeInt = 100,
        chains: PositiveInt | None = None,
        thinning: PositiveInt = 10,
    ) -> None:
        super().__init__(data)
        sizes, units = [data.dimensions, *hidden], (sum(hidden),)
        self.hidden, self.reach, self.activation = tuple(hidden), len(hidden) // 2 + 1, activation
        self.weight = nn.ParameterList(nn.init.xavier_uniform_(torch.empty(pair)) for pair in pairwise(sizes))
        self.bias = nn.ParameterList(torch.zeros(size) for size in sizes)
        self.conditional, self.conditions = condition, conditions_of(data, condition)
        told = math.prod(data.condition_shape or ()) if condition else 0
        self.told = nn.ParameterList(torch.zeros(told, size) for size in hidden if condition)
        low = -1.0 if activation == "tanh" else 0.0
        field, value = DataSpec(units, "real"), DataSpec(units, "interval", low=low, high=1.0)
        self.corruption: Corruption = make(corruption, data=data)
        self.before: nn.Module = nn.Identity() if before is None else make(before, data=field)
        self.after: nn.Module = nn.Identity() if after is None else make(after, data=value)
        self.origin = IndependentElements(data)
        self.burn_in, self.chains, self.thinning = burn_in, chains, thinning

    def memory(self, n: int) -> State:
        return tuple(bias.new_zeros(n, len(bias)) for bias in self.bias[1:])

    def restore(self, x: Tensor, memory: State, y: Tensor | None = None) -> tuple[Distribution, State]:
        layers = self.passed([self.corruption(x).flatten(1), *memory], self.biases(y), noisy=True)
        return self.law(layers[1]), tuple(layers[1:])

    def biases(self, y: Tensor | None) -> list[Tensor]:
        """c_1 .. c_L, `[units]` each, or c_i + y U_i, `[batch, units]`."""
        own = list(self.bias[1:])
        for given in given_condition(self, y):
            labels = self.spec.classes is not None
            told = one_hot(given.long(), len(self.told[0])).to(own[0].dtype) if labels else given.flatten(1)
            own = [bias + told @ weight for bias, weight in zip(own, self.told, strict=True)]
        return own

    def passed(self, layers: Sequence[Tensor], biases: Sequence[Tensor], noisy: bool) -> list[Tensor]:
        """x and the hidden layers, `[*lead, units]` each, after one step: the odd layers, then the even ones."""
        layers, top = list(layers), len(self.hidden)
        for i in [*range(1, top + 1, 2), *range(2, top + 1, 2)]:
            field = biases[i - 1] + layers[i - 1] @ self.weight[i - 1]
            if i < top:
                field = field + layers[i + 1] @ self.weight[i].T
            value = _ACTIVATIONS[self.activation](self.before(field) if noisy else field)
            layers[i] = self.after(value) if noisy else value
        return layers

    def law(self, h: Tensor) -> Distribution:
        """P(x | h_1) for h_1 `[*lead, units]`."""
        field = (self.bias[0] + h @ self.weight[0].T).unflatten(-1, self.spec.shape)
        if self.spec.support == "binary":
            return Independent(Bernoulli(logits=field, validate_args=False), len(self.spec.shape), validate_args=False)
        bounded = self.spec.support != "real"
        return Point(self.spec, field, "cross_entropy" if bounded else "squared", bounded, coins=bounded)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The hidden layers `[batch, units]`, side by side, after as many steps with x held as reach the top."""
        layers, biases = [x.flatten(1), *self.memory(x.shape[0])], self.biases(y)
        for _ in range(self.reach):
            layers = self.passed(layers, biases, noisy=False)
        return torch.cat(layers[1:], dim=1)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.law(z[..., : self.hidden[0]]).mean
