"""Fully connected layers, with a nonlinearity after each but the last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from variata import Layered, Shape

from .activations import Activation, activation_of
from .conditioning import Conditioning, FiLM, added_features
from .normalization import Norm, Rate, check_bare, constrained, norm_of


class MLP(Layered):
    """Rumelhart, Hinton and Williams (1986), Learning representations by back-propagating errors.

    Args:
        input, output, condition: shapes; inputs of any shape are flattened, and outputs take theirs.
        hidden: width of each hidden layer; none of them makes the map linear.
        activation: after each hidden layer.
        conditioning: how y enters (`conditioning.py`).
        norm: between each hidden layer and its nonlinearity (`normalization.py`).
        dropout: share of hidden units that are left out in training.
        spectral_norm: hold the spectral norm of every layer at 1.
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
        norm: Norm = "none",
        dropout: Rate = 0.0,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__(input, output, condition)
        self.concatenates = added_features(condition, conditioning) > 0
        self.couples_batch = norm == "batch" and len(hidden) > 0
        self.beside = {"norm": norm != "none", "dropout": dropout, "condition": condition}
        widths = [math.prod(input) + added_features(condition, conditioning), *hidden]
        layers = [nn.Linear(*pair, bias=norm != "batch") for pair in pairwise(widths)]  # batch norm has its own
        self.layers = nn.ModuleList(constrained(layer, spectral_norm) for layer in layers)
        self.norms = nn.ModuleList(norm_of(norm, width) for width in hidden) if norm != "none" else None
        modulated = condition if conditioning == "film" else None
        self.films = nn.ModuleList(FiLM(width, modulated) for width in hidden) if modulated else None
        self.last = constrained(nn.Linear(widths[-1], math.prod(output)), spectral_norm)
        self.activation, self.dropout = activation_of(activation), nn.Dropout(dropout) if dropout else None

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = x.flatten(1)
        if self.concatenates and y is not None:
            h = torch.cat([h, y.flatten(1)], dim=1)
        for i, layer in enumerate(self.layers):
            h = layer(h)
            h = h if self.norms is None else self.norms[i](h)
            h = self.activation(h if self.films is None else self.films[i](h, y))
            h = h if self.dropout is None else self.dropout(h)
        return self.last(h).unflatten(1, self.output)

    def chain(self) -> Sequence[tuple[nn.Module, nn.Module]]:
        check_bare(self, self.beside)
        return [*((layer, self.activation) for layer in self.layers), (self.last, nn.Identity())]
