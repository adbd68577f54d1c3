r"""Fully connected layers without a fixed nonlinearity, h'_i = max_k (A_k h + a_k)_i, and a plain last layer.

Goodfellow, Warde-Farley, Mirza, Courville and Bengio (2013), Maxout Networks, arXiv:1302.4389.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from variata import Network, Shape

from .conditioning import Conditioning, FiLM, added_features


class Maxout(Network):
    """Maxout layers.

    Args:
        input, output, condition: shapes; inputs of any shape are flattened, and outputs take theirs.
        hidden: width of each hidden layer; none of them makes the map linear.
        pieces: how many affine maps each unit is the greatest of.
        conditioning: how y enters (`conditioning.py`).
    """

    def __init__(
        self,
        input: Shape,
        output: Shape,
        condition: Shape | None = None,
        *,
        hidden: Sequence[PositiveInt] = (240, 240),
        pieces: PositiveInt = 5,
        conditioning: Conditioning = "concatenate",
    ) -> None:
        super().__init__(input, output, condition)
        self.concatenates, self.pieces = added_features(condition, conditioning) > 0, pieces
        widths = [math.prod(input) + added_features(condition, conditioning), *hidden]
        self.layers = nn.ModuleList(nn.Linear(before, pieces * after) for before, after in pairwise(widths))
        modulated = condition if conditioning == "film" else None
        self.films = nn.ModuleList(FiLM(width, modulated) for width in widths[1:])
        self.last = nn.Linear(widths[-1], math.prod(output))

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = x.flatten(1)
        if self.concatenates and y is not None:
            h = torch.cat([h, y.flatten(1)], dim=1)
        for layer, film in zip(self.layers, self.films, strict=True):
            h = film(layer(h).unflatten(1, (self.pieces, -1)).amax(1), y)
        return self.last(h).unflatten(1, self.output)
