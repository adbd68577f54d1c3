r"""Fully connected layers with gates, h' = (A h + a) * sigmoid(B h + b), and a plain last layer.

Dauphin, Fan, Auli and Grangier (2017), Language Modeling with Gated Convolutional Networks, arXiv:1612.08083. Tomczak
and Welling (2018), VAE with a VampPrior, arXiv:1705.07120 (encoders and decoders made of them).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import glu

from variata import Network, Shape

from .conditioning import Conditioning, FiLM, added_features


class GatedMLP(Network):
    """Gated layers.

    Args:
        input, output, condition: shapes; inputs of any shape are flattened, and outputs take theirs.
        hidden: width of each hidden layer; none of them makes the map linear.
        conditioning: how y enters (`conditioning.py`).
    """

    def __init__(
        self,
        input: Shape,
        output: Shape,
        condition: Shape | None = None,
        *,
        hidden: Sequence[PositiveInt] = (300, 300),
        conditioning: Conditioning = "concatenate",
    ) -> None:
        super().__init__(input, output, condition)
        self.concatenates = added_features(condition, conditioning) > 0
        widths = [math.prod(input) + added_features(condition, conditioning), *hidden]
        # One matrix holds A and B.
        self.layers = nn.ModuleList(nn.Linear(before, 2 * after) for before, after in pairwise(widths))
        modulated = condition if conditioning == "film" else None
        self.films = nn.ModuleList(FiLM(width, modulated) for width in widths[1:])
        self.last = nn.Linear(widths[-1], math.prod(output))

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = x.flatten(1)
        if self.concatenates and y is not None:
            h = torch.cat([h, y.flatten(1)], dim=1)
        for layer, film in zip(self.layers, self.films, strict=True):
            h = film(glu(layer(h), dim=1), y)
        return self.last(h).unflatten(1, self.output)
