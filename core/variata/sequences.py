r"""Strings of tokens: how they stand in a tensor, and which text each token is.

    x = (x_1, ..., x_L, 0, ..., 0),    x_L = 1 the end, and no end before it

A string is a row of integers, padded to the width of its data set. The end token says how long it is, so that a padded
tensor is all that is handed around: `Sequences` is its view as (tokens, lengths) with a mask, and the one place where a
batch is trimmed to its longest string.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from .errors import DataError

PADDING, END, UNKNOWN = 0, 1, 2
"""What stands after a string (and, as the input of a network, before its first token); what ends one; what stands for
a text that the vocabulary has not."""

_FIRST = 3
_UNKNOWN_TEXT = "<unk>"

TokenKind = Literal["characters", "words", "tokenizer"]


@dataclass(frozen=True)
class Vocabulary:
    """Which text each token is. The first three are padding, the end and the unknown token.

    Attributes:
        kind: what a token is: a character, a word between blanks, or what a tokenizer makes of a text.
        text: the texts of the tokens from number 3 on: characters one after another, words with a blank between them;
            of a tokenizer its own JSON.
        lowercase: texts are read in lower case.
    """

    kind: TokenKind
    text: str = field(repr=False)
    lowercase: bool = False

    def __len__(self) -> int:
        if self.kind == "tokenizer":
            return _FIRST + _tokenizer(self.text).get_vocab_size()
        return _FIRST + len(_texts(self.kind, self.text))

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, with the end.

        >>> Vocabulary("characters", "abc").encode("cab!")
        [5, 3, 4, 2, 1]
        """
        text = text.lower() if self.lowercase else text
        if self.kind == "tokenizer":
            found = _tokenizer(self.text).encode(text, add_special_tokens=False)
            return [_FIRST + number for number in found.ids] + [END]
        numbers = _numbers(self.kind, self.text)
        return [numbers.get(part, UNKNOWN) for part in _parts(self.kind, text)] + [END]

    def decode(self, tokens: Iterable[float]) -> str:
        """The text of tokens up to the end.

        >>> Vocabulary("words", "hello world").decode([3, 2, 4, 1, 0, 0])
        'hello <unk> world'
        """
        numbers: list[int] = []
        for token in tokens:
            if (number := int(token)) in (END, PADDING):
                break
            numbers.append(number)
        if self.kind == "tokenizer":
            return _tokenizer(self.text).decode([n - _FIRST for n in numbers if n >= _FIRST], skip_special_tokens=False)
        texts = _texts(self.kind, self.text)
        parts = [texts[n - _FIRST] if n >= _FIRST else _UNKNOWN_TEXT for n in numbers]
        return ("" if self.kind == "characters" else " ").join(parts)

    def pieces(self, tokens: Iterable[float]) -> list[str]:
        """The text of each token up to the end, the end too, for pictures."""
        found: list[str] = []
        for token in tokens:
            if (number := int(token)) == PADDING:
                break
            found.append("⏎" if number == END else self.decode([number]) or "?")
        return found

    def describe(self) -> str:
        """In words, for messages."""
        what = "a tokenizer" if self.kind == "tokenizer" else self.kind
        return f"{what}, {len(self) - _FIRST} of them{', in lower case' if self.lowercase else ''}"


def _parts(kind: TokenKind, text: str) -> Sequence[str]:
    return text if kind == "characters" else text.split()


@functools.lru_cache(maxsize=16)
def _texts(kind: TokenKind, text: str) -> tuple[str, ...]:
    return tuple(text) if kind == "characters" else tuple(text.split(" ")) if text else ()


@functools.lru_cache(maxsize=16)
def _numbers(kind: TokenKind, text: str) -> dict[str, int]:
    return {part: _FIRST + i for i, part in enumerate(_texts(kind, text))}


@functools.lru_cache(maxsize=4)
def _tokenizer(text: str) -> Any:
    """The tokenizer that some JSON describes; it neither pads nor cuts.

    Raises:
        DataError: it is none, or the package `tokenizers` is not installed.
    """
    try:
        tokenizers: Any = importlib.import_module("tokenizers")
    except ImportError as error:
        raise DataError("a tokenizer needs the package tokenizers: pip install 'variata[text]'") from error
    try:
        found = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the package raises plain exceptions
        raise DataError(f"is no tokenizer of the package tokenizers ({error})") from error
    found.no_padding()
    found.no_truncation()
    return found


class Sequences:
    """Padded rows as (tokens, lengths), trimmed to the longest of them. What stands after an end is not looked at.

    Attributes:
        tokens: `[*lead, longest]` integers, with padding after each end.
        lengths: `[*lead]`, the end counted.
        mask: `[*lead, longest]`, true where a token is, the end counted.

    Args:
        x: `[*lead, width]`, of any type.

    Raises:
        DataError: a row has no end.
    """

    def __init__(self, x: Tensor) -> None:
        tokens = x.long()
        ends = tokens == END
        self.lengths = ends.int().argmax(-1) + 1
        if not torch.compiler.is_compiling():  # there a width must be known beforehand
            if not bool(ends.any(-1).all()):
                raise DataError(f"a string of tokens has no end (token {END}) within its {x.shape[-1]} places")
            tokens = tokens[..., : int(self.lengths.max()) if self.lengths.numel() else 0]
        self.mask = torch.arange(tokens.shape[-1], device=x.device) < self.lengths.unsqueeze(-1)
        self.tokens = tokens.masked_fill(~self.mask, PADDING)

    def before(self) -> Tensor:
        """The token before each place, `[*lead, longest]`: padding before the first one."""
        return torch.nn.functional.pad(self.tokens[..., :-1], (1, 0), value=PADDING)

    def reversed(self) -> Tensor:
        """The tokens of each string from the last to the first, its end left where it is, `[*lead, longest]`."""
        place = torch.arange(self.tokens.shape[-1], device=self.tokens.device)
        last = self.lengths.unsqueeze(-1) - 2
        return self.tokens.gather(-1, torch.where(place <= last, last - place, place))


def padded(strings: Sequence[Sequence[int]], width: int) -> Tensor:
    """Strings with their ends, as rows of a tensor, `[strings, width]` in int32."""
    rows = torch.zeros(len(strings), width, dtype=torch.int32)
    for row, string in zip(rows, strings, strict=True):
        row[: len(string)] = torch.tensor(string, dtype=torch.int32)
    return rows
