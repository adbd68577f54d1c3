r"""Transformers: every place looks at the others, by several heads of scaled dot products.

    head(x, m) = softmax((Q x) (K m)^T / sqrt(width)) V m
    block      x + heads(norm x, itself),  then x + heads(norm x, memory) where there is one,  then x + mlp(norm x)

A reader's place looks at all places with a token; a writer's at those before it and itself, so that all places of a
string whose tokens are known are written in one pass, and one more token costs one place. The first vector of a string
carries no place of its own: sines of the place are added (no longest string is built in).

Vaswani et al. (2017), Attention Is All You Need, arXiv:1706.03762; with the norms inside, Xiong et al. (2020), On Layer
Normalization in the Transformer Architecture, arXiv:2002.04745.
"""

from __future__ import annotations

import math

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from variata import ConfigError, Problem, Sequences

from .embedding import Dropout, Embedding, Probability
from .parts import Context, Memory, SequenceDecoder, SequenceEncoder, State, masked_softmax

Keys = tuple[Tensor, Tensor]
"""What is looked at: keys and values of each head, `[batch, heads, places, width]` each."""


class Heads(nn.Module):
    """Several heads; `width` of a place is that of all heads together."""

    def __init__(self, width: int, heads: int, memory: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(memory, width), nn.Linear(memory, width)
        self.out = nn.Linear(width, width)

    def keys(self, memory: Tensor) -> Keys:
        """Of places `[batch, places, memory]`."""
        return self._split(self.key(memory)), self._split(self.value(memory))

    def forward(self, x: Tensor, keys: Keys, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """`[batch, places, width]`; `mask` says which of the keys there are, `[batch, 1, 1, places of the memory]`."""
        seen = nn.functional.scaled_dot_product_attention(
            self._split(self.query(x)), *keys, attn_mask=mask, is_causal=causal
        )
        return self.out(seen.transpose(1, 2).flatten(2))

    def looks(self, x: Tensor, keys: Keys, mask: Tensor) -> Tensor:
        """The weights, the mean of all heads, `[batch, places, places of the memory]`."""
        query = self._split(self.query(x))
        scores = query @ keys[0].transpose(-1, -2) / math.sqrt(query.shape[-1])
        return masked_softmax(scores, mask).mean(1)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """One layer; `memory` is the width of the states that it looks at besides its own places, None for none."""

    def __init__(self, width: int, heads: int, dropout: float, memory: int | None = None) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 if memory is None else 3))
        self.own, self.dropout = Heads(width, heads, width), dropout
        self.other = None if memory is None else Heads(width, heads, memory)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def own_keys(self, x: Tensor) -> Keys:
        """Of its own places."""
        return self.own.keys(self.norms[0](x))

    def forward(
        self, x: Tensor, keys: Keys, mask: Tensor | None = None, causal: bool = False, memory: Memory | None = None
    ) -> Tensor:
        x = x + self._dropped(self.own(self.norms[0](x), keys, mask, causal))
        if self.other is not None and memory is not None:
            there = memory.mask[:, None, None]
            x = x + self._dropped(self.other(self.norms[2](x), self.other.keys(memory.states), there))
        return x + self._dropped(self.mlp(self.norms[1](x)))

    def looks(self, x: Tensor, memory: Memory) -> Tensor | None:
        """At the memory, by places that have looked at themselves."""
        if self.other is None:
            return None
        x = x + self.own(self.norms[0](x), self.own_keys(x), causal=True)
        return self.other.looks(self.norms[2](x), self.other.keys(memory.states), memory.mask[:, None, None])

    def _dropped(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, self.dropout, self.training)


class TransformerEncoder(SequenceEncoder):
    """Reads all places at once; the summary is the mean of the states.

    Args:
        vocabulary: how many tokens there are.
        width: of a state.
        heads: of each layer; they share the width.
        layers: one after another.
        dropout: of vectors, and of what each layer adds.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        width: PositiveInt = 128,
        heads: PositiveInt = 4,
        layers: PositiveInt = 2,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        _check_heads(width, heads)
        self.width, self.embedding = width, Embedding(vocabulary, width, dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, strings: Sequences) -> Memory:
        x, mask = self.embedding(strings.tokens), strings.mask
        x = x + places(0, x)
        for block in self.blocks:
            x = block(x, block.own_keys(x), mask[:, None, None])  # pyright: ignore[reportCallIssue]
        states = self.norm(x)
        shown = states.masked_fill(~mask.unsqueeze(-1), 0.0)
        return Memory(states, mask, shown.sum(1) / strings.lengths.unsqueeze(-1))


class TransformerDecoder(SequenceDecoder):
    """Writes all places at once where their tokens are known, and one after the other else. It looks at a memory
    wherever there is one; the start vector is added to the vector of each token.

    Args:
        vocabulary, start, memory: sizes, from the model.
        width: of a state.
        heads: of each layer; they share the width.
        layers: one after another.
        dropout: of vectors, and of what each layer adds.
        word_dropout: probability that a token before is not told while it learns (`embedding.py`).
    """

    def __init__(
        self,
        vocabulary: int,
        start: int | None,
        memory: int | None,
        *,
        width: PositiveInt = 128,
        heads: PositiveInt = 4,
        layers: PositiveInt = 2,
        dropout: Dropout = 0.0,
        word_dropout: Probability = 0.0,
    ) -> None:
        super().__init__(vocabulary)
        _check_heads(width, heads)
        self.embedding, self.heads = Embedding(vocabulary, width, dropout, word_dropout), heads
        self.first = None if start is None else nn.Linear(start, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout, memory) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary - 1)

    def forward(self, before: Tensor, context: Context) -> Tensor:
        x = self._vectors(before, 0, context)
        for block in self.blocks:
            x = block(x, block.own_keys(x), causal=True, memory=context.memory)  # pyright: ignore[reportCallIssue]
        return self.head(self.norm(x))

    def begin(self, n: int, context: Context) -> State:
        width = self.norm.weight
        empty = width.new_zeros(n, self.heads, 0, len(width) // self.heads)
        return (empty,) * (2 * len(self.blocks))

    def step(self, before: Tensor, state: State, context: Context) -> tuple[Tensor, State]:
        x, kept = self._vectors(before.unsqueeze(1), state[0].shape[2], context), list[Tensor]()
        for i, block in enumerate(self.blocks):
            own = block.own_keys(x)  # pyright: ignore[reportCallIssue]
            keys = tuple(torch.cat([past, now], dim=2) for past, now in zip(state[2 * i : 2 * i + 2], own, strict=True))
            x = block(x, keys, memory=context.memory)
            kept += keys
        return self.head(self.norm(x)).squeeze(1), tuple(kept)

    def looks(self, before: Tensor, context: Context) -> Tensor | None:
        """By the last layer."""
        if context.memory is None:
            return None
        x = self._vectors(before, 0, context)
        for block in self.blocks[:-1]:
            x = block(x, block.own_keys(x), causal=True, memory=context.memory)  # pyright: ignore[reportCallIssue]
        return self.blocks[-1].looks(x, context.memory)  # pyright: ignore[reportCallIssue]

    def _vectors(self, before: Tensor, first: int, context: Context) -> Tensor:
        x = self.embedding(before)
        x = x + places(first, x)
        return x if self.first is None or context.start is None else x + self.first(context.start).unsqueeze(1)


def places(first: int, x: Tensor) -> Tensor:
    """Sines and cosines of the places from `first` on, `[places, width]`, for x `[batch, places, width]`."""
    count, width = x.shape[1:]
    place = torch.arange(first, first + count, device=x.device, dtype=x.dtype).unsqueeze(1)
    channel = torch.arange(width, device=x.device)
    angle = place * torch.exp(-(channel // 2 * 2) * (math.log(10_000.0) / width)).to(x)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos())


def _check_heads(width: int, heads: int) -> None:
    if width % heads:
        raise ConfigError(Problem(f"width {width} is no multiple of heads {heads}: the heads share it"))
