"""Texts as padded strings of tokens, and what is done with those that are too long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from variata import END, ConfigError, DataError, DataSpec, Problem, Split, Vocabulary, padded, split_rows

from .lines import Line
from .vocabulary import Tokens, tokenizer_in, vocabulary_of

TooLong = Literal["error", "cut", "leave_out"]
Share = NonNegativeInt | Annotated[float, Field(ge=0, lt=1)]
"""A number of examples, or a share of them."""


@dataclass(frozen=True)
class Reading:
    """How texts become tokens.

    Attributes:
        tokens: what a token is.
        tokenizer: a file that the package `tokenizers` saved, in place of that.
        vocabulary_size: how many of the most frequent tokens are known; None for all.
        least: how often a token must occur to be known.
        lowercase: texts are read in lower case.
    """

    tokens: Tokens
    tokenizer: Path | None
    vocabulary_size: PositiveInt | None
    least: PositiveInt
    lowercase: bool

    def vocabulary(self, training: Sequence[Line]) -> Vocabulary:
        """Of the training texts, or of the tokenizer.

        Raises:
            ConfigError: a tokenizer has a vocabulary of its own.
            DataError: no token occurs as often as is asked for.
        """
        if self.tokenizer is not None:
            if self.vocabulary_size is not None or self.least > 1:
                message = "a tokenizer has its own vocabulary: remove vocabulary_size and least, or tokenizer"
                raise ConfigError(Problem(message))
            return tokenizer_in(self.tokenizer, self.lowercase)
        found = vocabulary_of(
            (line.text for line in training), self.tokens, self.vocabulary_size, self.least, self.lowercase
        )
        if not found.text:
            raise DataError(f"{training[0].file}: no token occurs {self.least} times: set data.least lower")
        return found


@dataclass(frozen=True)
class Limits:
    """How long strings may be, in tokens without the end; None for as long as the longest one."""

    longest: int | None
    too_long: TooLong


class Texts:
    """Texts in splits, as strings of the vocabulary of those to train on, and the sources of each where there are any.

    Args:
        x, y: the texts of each split; y are the sources.
        reading, limits: of both.
        bucketing: whether batches of training hold strings of about one length.

    Raises:
        DataError: a text is too long, or none is left to train on.
    """

    def __init__(
        self,
        x: Mapping[str, Sequence[Line]],
        y: Mapping[str, Sequence[Line]] | None,
        reading: Reading,
        limits: Limits,
        bucketing: bool,
    ) -> None:
        strings, self._bucketing = _Strings(x, reading, limits), bucketing
        sources = None if y is None else _Strings(y, reading, limits)
        size = len(strings.vocabulary)
        what = {"characters": "characters", "words": "words", "tokenizer": "tokens of a tokenizer"}
        self.spec = DataSpec(
            (strings.width,),
            "tokens",
            levels=size,
            high=float(size - 1),
            transform=f"{what[strings.vocabulary.kind]} with their end",
            condition=None if sources is None else (sources.width,),
            vocabulary=strings.vocabulary,
            source=None if sources is None else sources.vocabulary,
        )
        self.splits = {name: self._split(name, strings, sources) for name in x}
        if not len(self.splits["train"]):
            raise DataError(f"{x['train'][0].file}: every line to train on is too long: raise data.longest")

    def _split(self, name: str, strings: _Strings, sources: _Strings | None) -> Split:
        of_x = strings.of_split[name]
        of_y = of_x if sources is None else sources.of_split[name]
        kept = [(a, b) for a, b in zip(of_x, of_y, strict=True) if a is not None and b is not None]
        lengths = torch.tensor([max(len(a), len(b)) for a, b in kept], dtype=torch.int64)
        x = padded([a for a, _ in kept], strings.width)
        y = None if sources is None else padded([b for _, b in kept], sources.width).long()
        return Split(x, y, lengths=lengths if self._bucketing else None)


class _Strings:
    """The strings of texts in splits, None where a text is too long and is left out, and the width that holds all."""

    def __init__(self, lines: Mapping[str, Sequence[Line]], reading: Reading, limits: Limits) -> None:
        self.vocabulary = reading.vocabulary(lines["train"])
        self.of_split = {name: [self._string(line, limits) for line in part] for name, part in lines.items()}
        there = [len(string) for part in self.of_split.values() for string in part if string is not None]
        self.width = max(there, default=1) if limits.longest is None else limits.longest + 1

    def _string(self, line: Line, limits: Limits) -> list[int] | None:
        string = self.vocabulary.encode(line.text)
        if limits.longest is None or len(string) - 1 <= limits.longest:
            return string
        if limits.too_long == "error":
            what = f"has {len(string) - 1} tokens, and data.longest is {limits.longest}"
            raise DataError(f"{line.place()}: {what}: raise it, or set data.too_long to cut or leave_out")
        return [*string[: limits.longest], END] if limits.too_long == "cut" else None


def in_splits(lines: Sequence[Line], validation: float | int, test: float | int, seed: int) -> dict[str, list[Line]]:
    """As `split_rows`, naming the source."""
    try:
        rows = split_rows(len(lines), {"validation": validation, "test": test}, seed)
    except DataError as error:
        raise DataError(f"{lines[0].file}: {error}") from error
    return {name: [lines[i] for i in index.tolist()] for name, index in rows.items()}
