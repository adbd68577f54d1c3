r"""How well a state h answers a query q.

additive        v^T tanh(W q + U h)     Bahdanau, Cho and Bengio (2015), arXiv:1409.0473
multiplicative  q^T W h / sqrt(width)   Luong, Pham and Manning (2015), arXiv:1508.04025 ("general"), scaled as by
                                        Vaswani et al. (2017), arXiv:1706.03762
"""

from __future__ import annotations

import math

from pydantic import PositiveInt
from torch import Tensor, nn

from .parts import Attention


class AdditiveAttention(Attention):
    """A hidden layer on both.

    Args:
        query, memory: widths, from the decoder.
        hidden: units of the layer.
    """

    def __init__(self, query: int, memory: int, *, hidden: PositiveInt = 64) -> None:
        super().__init__()
        self.of_query, self.of_state = nn.Linear(query, hidden), nn.Linear(memory, hidden, bias=False)
        self.value = nn.Linear(hidden, 1, bias=False)

    def scores(self, query: Tensor, states: Tensor) -> Tensor:
        both = self.of_query(query).unsqueeze(2) + self.of_state(states).unsqueeze(1)
        return self.value(both.tanh()).squeeze(-1)


class MultiplicativeAttention(Attention):
    """A bilinear form.

    Args:
        query, memory: widths, from the decoder.
    """

    def __init__(self, query: int, memory: int) -> None:
        super().__init__()
        self.of_state, self.scale = nn.Linear(memory, query, bias=False), 1 / math.sqrt(query)

    def scores(self, query: Tensor, states: Tensor) -> Tensor:
        return self.scale * query @ self.of_state(states).transpose(1, 2)
