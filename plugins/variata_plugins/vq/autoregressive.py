r"""p(x) = prod_i p(x_i | x_1 ... x_(i-1)), each factor a softmax over the levels, by a recurrent network.

A gated recurrent unit reads the elements in their order, one behind, and says at each place how probable each level
is. The density is exact: one pass. A draw takes one pass for each element.

Cho, van Merrienboer, Gulcehre, Bahdanau, Bougares, Schwenk and Bengio (2014), Learning Phrase Representations using RNN
Encoder-Decoder for Statistical Machine Translation, arXiv:1406.1078. Larochelle and Murray (2011), The Neural
Autoregressive Distribution Estimator (laws of this form).
"""

from __future__ import annotations

import math

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from variata import (
    ConfigError,
    DataSpec,
    Density,
    Problem,
    Sampler,
    asked_condition,
    conditions_of,
    given_condition,
)


class Autoregressive(Density, Sampler):
    """An exact law of data of levels (or binary data), in the order in which its elements lie in memory.

    Args:
        data: what an example is.
        hidden: width of the recurrent network.
        condition: let the network start from the data's labels (or condition vectors).

    Raises:
        ConfigError: the data has no levels; or a condition is asked for and the data has none.
    """

    def __init__(self, data: DataSpec, *, hidden: PositiveInt = 128, condition: bool = False) -> None:
        super().__init__(data)
        if data.levels is None or data.support not in ("binary", "levels"):
            raise ConfigError(Problem(f"autoregressive is a law of levels, but the data is {data.describe()}"))
        self.levels = data.levels
        # Number 0 stands before the first element, and level k is number k + 1.
        self.embedding, self.recurrent = nn.Embedding(self.levels + 1, hidden), nn.GRU(hidden, hidden, batch_first=True)
        self.head = nn.Linear(hidden, self.levels)
        self.conditional, self.conditions = condition, conditions_of(data, condition)
        self.start = nn.Linear(math.prod(data.condition_shape or ()), hidden) if condition else None

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        index = self._index(x)
        before = nn.functional.pad(index[:, :-1] + 1, (1, 0))
        states, _ = self.recurrent(self.embedding(before), self._start(*given_condition(self, y)))
        scores = self.head(states).log_softmax(-1)
        return scores.gather(-1, index.unsqueeze(-1)).squeeze(-1).sum(-1)

    @torch.no_grad()
    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        y = asked_condition(self, n, condition)
        number = torch.zeros(n, 1, dtype=torch.int64, device=self.head.weight.device)
        state, drawn = self._start(*() if y is None else (y,)), []
        for _ in range(self.spec.dimensions):
            out, state = self.recurrent(self.embedding(number), state)
            level = torch.multinomial(self.head(out[:, 0]).softmax(-1), 1)
            drawn.append(level)
            number = level + 1
        return self._value(torch.cat(drawn, 1)).reshape(n, *self.spec.shape)

    def _start(self, y: Tensor | None = None) -> Tensor | None:
        """The network's state before the first element, `[1, batch, hidden]`; None, for zeros, without a condition."""
        if self.start is None or y is None:
            return None
        if not y.is_floating_point():
            y = nn.functional.one_hot(y.long(), self.start.in_features).to(self.start.weight)
        return self.start(y.flatten(1)).tanh()[None]

    def _index(self, x: Tensor) -> Tensor:
        """`[batch, *event]` values -> `[batch, elements]` levels from 0."""
        low, high = self.spec.low, self.spec.high
        return ((x.flatten(1) - low) / (high - low) * (self.levels - 1)).round().long()

    def _value(self, index: Tensor) -> Tensor:
        low, high = self.spec.low, self.spec.high
        return low + (high - low) / (self.levels - 1) * index.to(self.head.weight.dtype)
