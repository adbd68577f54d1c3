"""Strings that are made up: a source of random tokens, and a target that is the source from its end (`reversal`) or the
source itself (`copy`). They need memory of everything that was read, and nothing else."""

from __future__ import annotations

from abc import abstractmethod

import torch
from pydantic import PositiveInt
from torch import Tensor

from variata import ConfigError, Data, DataSpec, Problem, Seed, Sequences, Split, Vocabulary, split_rows

from .strings import Share


class MadeUp(Data):
    """Distinct sources whose lengths, and then whose tokens, are all equally probable; y is the source.

    Args:
        vocabulary: how many tokens there are, besides the end.
        shortest, longest: of the sources, without their end.
        examples: how many there are.
        bucketing: batches of training hold strings of about one length.
        validation, test: examples that are held out, a number or a share.
        split_seed: of the strings, and of the permutation that holds some out.

    Raises:
        ConfigError: there are hardly as many different strings, or the shortest is longer than the longest.
    """

    def __init__(
        self,
        *,
        vocabulary: PositiveInt = 20,
        shortest: PositiveInt = 5,
        longest: PositiveInt = 10,
        examples: PositiveInt = 10_000,
        bucketing: bool = True,
        validation: Share = 0.1,
        test: Share = 0.1,
        split_seed: Seed = 0,
    ) -> None:
        if shortest > longest:
            raise ConfigError(Problem(f"the shortest has {shortest} tokens and the longest {longest}: exchange them"))
        every = sum(vocabulary**length for length in range(shortest, min(longest, shortest + 32) + 1))
        if every < 2 * examples:
            message = f"there are {every} strings of these lengths, and {examples} different ones are asked for"
            raise ConfigError(Problem(f"{message}: ask for half of them at most, or for longer ones"))
        sources = _sources(vocabulary, shortest, longest, examples, torch.Generator().manual_seed(split_seed))
        strings = Sequences(sources)
        target, width = self.target(strings), longest + 1
        x = torch.nn.functional.pad(target, (0, width - target.shape[1])).int()
        words = Vocabulary("words", " ".join(_names(vocabulary)))
        size = len(words)
        self.spec = DataSpec(
            (width,),
            "tokens",
            levels=size,
            high=float(size - 1),
            transform="made-up words with their end",
            condition=(width,),
            vocabulary=words,
            source=words,
        )
        rows = split_rows(examples, {"validation": validation, "test": test}, split_seed)
        self._splits = {
            name: Split(x[at], sources[at], lengths=strings.lengths[at] if bucketing else None)
            for name, at in rows.items()
        }

    @abstractmethod
    def target(self, source: Sequences) -> Tensor:
        """`[examples, longest]` tokens with their ends."""

    def split(self, name: str) -> Split:
        return self._splits[name]


class Reversal(MadeUp):
    """The target is the source from its end; options as for `MadeUp`."""

    def target(self, source: Sequences) -> Tensor:
        return source.reversed()


class Copy(MadeUp):
    """The target is the source; options as for `MadeUp`."""

    def target(self, source: Sequences) -> Tensor:
        return source.tokens


def _names(vocabulary: int) -> list[str]:
    """Letters, or numbers where there are not enough of them."""
    return [chr(ord("a") + i) if vocabulary <= 26 else str(i) for i in range(vocabulary)]


def _sources(vocabulary: int, shortest: int, longest: int, examples: int, generator: torch.Generator) -> Tensor:
    """`[examples, longest + 1]` different strings with their ends."""
    first = 3  # padding, the end and the unknown token come before
    found = torch.empty(0, longest + 1, dtype=torch.int64)
    while len(found) < examples:
        lengths = torch.randint(shortest, longest + 1, (examples, 1), generator=generator)
        tokens = torch.randint(first, first + vocabulary, (examples, longest + 1), generator=generator)
        place = torch.arange(longest + 1)
        rows = torch.where(place < lengths, tokens, torch.where(place == lengths, 1, 0))
        found = torch.cat([found, rows]).unique(dim=0)
    return found[torch.randperm(len(found), generator=generator)[:examples]]
