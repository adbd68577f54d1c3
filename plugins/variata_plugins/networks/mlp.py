"""Fully connected layers, with a nonlinearity after each but the last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from variata import Network, Shape

from .activations import Activation, activation_of
from .conditioning import Conditioning, FiLM, added_features


class MLP(Network):
    """Rumelhart, Hinton and Williams (1986), Learning representations by back-propagating errors.

    Args:
        input, output, condition: shapes; inputs of any shape are flattened, and outputs take theirs.
        hidden: width of each hidden layer; none of them makes the map linear.
        activation: after each hidden layer.
        conditioning: how y enters (`conditioning.py`).
    """

    def __init__(
        self,
        input: Shape,
        output: Shape,
        condition: Shape | None = None,
        *,
        hidden: Sequence[PositiveInt] = (200, 200),
        activation: Activation = "relu",
        conditioning: Conditioning = "concatenate",
    ) -> None:
        super().__init__(input, output, condition)
        self.concatenates = added_features(condition, conditioning) > 0
        widths = [math.prod(input) + added_features(condition, conditioning), *hidden]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        modulated = condition if conditioning == "film" else None
        self.films = nn.ModuleList(FiLM(width, modulated) for width in widths[1:]) if modulated else None
        self.last = nn.Linear(widths[-1], math.prod(output))
        self.activation = activation_of(activation)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = x.flatten(1)
        if self.concatenates and y is not None:
            h = torch.cat([h, y.flatten(1)], dim=1)
        for i, layer in enumerate(self.layers):
            h = layer(h) if self.films is None else self.films[i](layer(h), y)
            h = self.activation(h)
        return self.last(h).unflatten(1, self.output)
