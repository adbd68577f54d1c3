r"""What models of strings are made of.

    a sequence encoder reads a string:       h_1 ... h_S and a summary             (`Memory`)
    a sequence decoder writes one:           p(x_t | x_1 ... x_(t-1), context)     scores of every next token
    an attention looks at what was read:     a_ts, how much of h_s place t takes   sum_s a_ts = 1

A context is what a string is written from: a vector (a code, a summary), a memory to look at, both or neither.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from variata import Sequences


@dataclass(frozen=True)
class Memory:
    """What was read of some strings.

    Attributes:
        states: of each place, `[batch, places, width]`.
        mask: where a token is, `[batch, places]`.
        summary: of each string, `[batch, width]`.
    """

    states: Tensor
    mask: Tensor
    summary: Tensor


@dataclass(frozen=True)
class Context:
    """What strings are written from.

    Attributes:
        start: a vector for each, `[batch, width]`.
        memory: what may be looked at.
    """

    start: Tensor | None = None
    memory: Memory | None = None

    def take(self, rows: Tensor) -> Context:
        """Those of some strings, in that order."""
        memory = self.memory
        if memory is not None:
            memory = Memory(memory.states[rows], memory.mask[rows], memory.summary[rows])
        return Context(None if self.start is None else self.start[rows], memory)


State = tuple[Tensor, ...]
"""What a decoder remembers of the tokens so far, each `[batch, ...]`."""


class SequenceEncoder(nn.Module, ABC):
    """Reads strings. Given: `vocabulary: int`, how many tokens there are.

    `width` is that of its states and of its summary.
    """

    width: int

    @abstractmethod
    def forward(self, strings: Sequences) -> Memory:
        """What was read; nothing of it depends on padding, or on other strings."""


class SequenceDecoder(nn.Module, ABC):
    """Writes strings, a token after the other. Given: `vocabulary: int`; `start: int | None`, the width of the vector
    that a string is written from; `memory: int | None`, that of the states which it may look at. Neither where there is
    none."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    @abstractmethod
    def forward(self, before: Tensor, context: Context) -> Tensor:
        """Scores of the token at every place at once, `[batch, places, vocabulary - 1]`, those of tokens 1, 2, ...;
        `before` are the tokens before each place, `[batch, places]`, with padding before the first."""

    @abstractmethod
    def begin(self, n: int, context: Context) -> State:
        """The state before the first token of n strings."""

    @abstractmethod
    def step(self, before: Tensor, state: State, context: Context) -> tuple[Tensor, State]:
        """Scores of the next token, `[batch, vocabulary - 1]`, after the tokens `before`, `[batch]`."""

    @abstractmethod
    def looks(self, before: Tensor, context: Context) -> Tensor | None:
        """How much of each place of the memory each place takes, `[batch, places, places of the memory]`; None where
        it does not look."""


class Attention(nn.Module, ABC):
    """Given: `query: int` and `memory: int`, widths."""

    @abstractmethod
    def scores(self, query: Tensor, states: Tensor) -> Tensor:
        """How well each state answers each query, `[batch, places, places of the memory]`, from
        `[batch, places, query]` and `[batch, places of the memory, memory]`."""

    def forward(self, query: Tensor, memory: Memory) -> Tensor:
        """Weights of the same shape: each row sums to one, and is zero where no token is."""
        return masked_softmax(self.scores(query, memory.states), memory.mask.unsqueeze(1))


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Over the last axis, among what the mask admits; something is."""
    return scores.masked_fill(~mask, -torch.inf).softmax(-1)
