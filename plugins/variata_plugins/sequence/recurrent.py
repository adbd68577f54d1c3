r"""Recurrent readers and writers: gated recurrent units and long short-term memory.

    reading   h_t = f(h_(t-1), e(x_t)), in one direction or in both; the summary is what is left at both ends
    writing   s_t = f(s_(t-1), [e(x_(t-1)), start]),  s_0 = tanh(W start)
              a_t = attention(s_t, h),  c_t = sum_s a_ts h_s,  o_t = tanh(W [s_t, c_t])  where it looks at a memory
              p(x_t | ...) = softmax(W o_t)

The state does not read what was looked at before, so all places of a string whose tokens are known are written in one
pass (Luong, Pham and Manning, 2015, arXiv:1508.04025, without input feeding).

Hochreiter and Schmidhuber (1997), Long Short-Term Memory. Cho et al. (2014), Learning Phrase Representations using RNN
Encoder-Decoder for Statistical Machine Translation, arXiv:1406.1078.
"""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from variata import ConfigError, Factory, Problem, Sequences, make

from .embedding import Dropout, Embedding, Probability
from .parts import Attention, Context, Memory, SequenceDecoder, SequenceEncoder, State

Cell = type[nn.GRU] | type[nn.LSTM]


class RecurrentEncoder(SequenceEncoder, ABC):
    """Reads from the start, and from the end as well.

    Args:
        vocabulary: how many tokens there are.
        embedding: width of a token's vector; null for `hidden`.
        hidden: units in each direction.
        layers: of the recurrent network.
        bidirectional: whether it reads from the end as well.
        dropout: of vectors, and between layers.
    """

    cell: ClassVar[Cell]

    def __init__(
        self,
        vocabulary: int,
        *,
        embedding: PositiveInt | None = None,
        hidden: PositiveInt = 128,
        layers: PositiveInt = 1,
        bidirectional: bool = True,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        width = embedding or hidden
        self.embedding, self.directions = Embedding(vocabulary, width, dropout), 1 + bidirectional
        self.width, between = hidden * self.directions, dropout if layers > 1 else 0.0
        self.recurrent = self.cell(
            width, hidden, layers, batch_first=True, bidirectional=bidirectional, dropout=between
        )

    def forward(self, strings: Sequences) -> Memory:
        vectors, lengths = self.embedding(strings.tokens), strings.lengths.cpu()
        packed, last = self.recurrent(pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False))
        states, _ = pad_packed_sequence(packed, batch_first=True, total_length=vectors.shape[1])
        left = last[0] if isinstance(last, tuple) else last
        return Memory(states, strings.mask, torch.cat([*left[-self.directions :]], dim=-1))


class RecurrentDecoder(SequenceDecoder, ABC):
    """Writes from the start.

    Args:
        vocabulary, start, memory: sizes, from the model.
        embedding: width of a token's vector; null for `hidden`.
        hidden: units.
        layers: of the recurrent network.
        attention: how it looks at a memory; null lets it write from the start vector alone.
        dropout: of vectors, between layers, and of states.
        word_dropout: probability that a token before is not told while it learns (`embedding.py`).

    Raises:
        ConfigError: an attention where there is nothing to look at.
    """

    cell: ClassVar[Cell]

    def __init__(
        self,
        vocabulary: int,
        start: int | None,
        memory: int | None,
        *,
        embedding: PositiveInt | None = None,
        hidden: PositiveInt = 128,
        layers: PositiveInt = 1,
        attention: Factory[Attention] | None = None,
        dropout: Dropout = 0.0,
        word_dropout: Probability = 0.0,
    ) -> None:
        super().__init__(vocabulary)
        if attention is not None and memory is None:
            raise ConfigError(Problem("attention looks at a source, and this model reads none: remove it"))
        width = embedding or hidden
        self.embedding, self.dropout = Embedding(vocabulary, width, dropout, word_dropout), dropout
        between = dropout if layers > 1 else 0.0
        self.recurrent = self.cell(width + (start or 0), hidden, layers, batch_first=True, dropout=between)
        self.first = None if start is None else nn.Linear(start, layers * hidden)
        self.attention = None if attention is None else make(attention, query=hidden, memory=memory)
        self.joined = None if attention is None or memory is None else nn.Linear(hidden + memory, hidden)
        self.head = nn.Linear(hidden, vocabulary - 1)

    def forward(self, before: Tensor, context: Context) -> Tensor:
        states, _ = self._states(before, self.begin(len(before), context), context)
        return self._scores(states, context)

    def begin(self, n: int, context: Context) -> State:
        layers, hidden = self.recurrent.num_layers, self.recurrent.hidden_size
        if self.first is None or context.start is None:
            first = self.head.weight.new_zeros(n, layers, hidden)
        else:
            first = self.first(context.start).tanh().unflatten(-1, (layers, hidden))
        return (first, torch.zeros_like(first)) if isinstance(self.recurrent, nn.LSTM) else (first,)

    def step(self, before: Tensor, state: State, context: Context) -> tuple[Tensor, State]:
        states, state = self._states(before.unsqueeze(1), state, context)
        return self._scores(states, context).squeeze(1), state

    def looks(self, before: Tensor, context: Context) -> Tensor | None:
        if self.attention is None or context.memory is None:
            return None
        states, _ = self._states(before, self.begin(len(before), context), context)
        return self.attention(states, context.memory)

    def _states(self, before: Tensor, state: State, context: Context) -> tuple[Tensor, State]:
        """s_t after each of the tokens, `[batch, places, hidden]`, and what is remembered."""
        vectors = self.embedding(before)
        if context.start is not None:
            start = context.start.unsqueeze(1).expand(-1, vectors.shape[1], -1)
            vectors = torch.cat([vectors, start.to(vectors)], dim=-1)
        layers_first = tuple(part.transpose(0, 1).contiguous() for part in state)
        states, left = self.recurrent(vectors, layers_first if len(layers_first) == 2 else layers_first[0])
        kept = left if isinstance(left, tuple) else (left,)
        return states, tuple(part.transpose(0, 1) for part in kept)

    def _scores(self, states: Tensor, context: Context) -> Tensor:
        if self.attention is not None and self.joined is not None and context.memory is not None:
            seen = self.attention(states, context.memory) @ context.memory.states
            states = self.joined(torch.cat([states, seen], dim=-1)).tanh()
        return self.head(nn.functional.dropout(states, self.dropout, self.training))


class GRUEncoder(RecurrentEncoder):
    """Gated recurrent units; options as for `RecurrentEncoder`."""

    cell = nn.GRU


class LSTMEncoder(RecurrentEncoder):
    """Long short-term memory; options as for `RecurrentEncoder`."""

    cell = nn.LSTM


class GRUDecoder(RecurrentDecoder):
    """Gated recurrent units; options as for `RecurrentDecoder`."""

    cell = nn.GRU


class LSTMDecoder(RecurrentDecoder):
    """Long short-term memory; options as for `RecurrentDecoder`."""

    cell = nn.LSTM
