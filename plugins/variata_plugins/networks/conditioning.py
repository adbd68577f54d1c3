r"""How a condition y enters a network.

    concatenate   the first layer sees [x | y]; images get y as constant channels
    film          each hidden layer h becomes (1 + a(y)) * h + b(y), with a and b linear and zero at the start

Perez, Strub, de Vries, Dumoulin and Courville (2018), FiLM: Visual Reasoning with a General Conditioning Layer,
arXiv:1709.07871 (film). An embedding of labels, concatenated, is the first of these with a factor more: the layer that
follows is linear in y either way.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from variata import Shape

Conditioning = Literal["concatenate", "film"]


def added_features(condition: Shape | None, how: Conditioning) -> int:
    """How many features (or channels) the first layer sees beside x."""
    return 0 if condition is None or how == "film" else math.prod(condition)


class FiLM(nn.Module):
    """(1 + a(y)) * h + b(y), the same for all positions of an image; h itself where there is no condition.

    Args:
        features: features (or channels) of h.
        condition: shape of y, or None.
    """

    def __init__(self, features: int, condition: Shape | None) -> None:
        super().__init__()
        self.map = None
        if condition is not None:
            self.map = nn.Linear(math.prod(condition), 2 * features)
            nn.init.zeros_(self.map.weight)
            nn.init.zeros_(self.map.bias)

    def forward(self, h: Tensor, y: Tensor | None) -> Tensor:
        """h `[n, features, *space]`, y `[n, *condition]` -> h's shape."""
        if self.map is None or y is None:
            return h
        scale, shift = self.map(y.flatten(1)).view(len(h), -1, *[1] * (h.ndim - 2)).chunk(2, dim=1)
        return (1 + scale) * h + shift
