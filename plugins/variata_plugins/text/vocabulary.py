"""The vocabulary of some texts, from those of the training split alone: the most frequent tokens first, those that
occur equally often in the order of their texts, so that it does not depend on the order of the lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from variata import DataError, Vocabulary

Tokens = Literal["characters", "words"]
UNKNOWN_TEXT = "<unk>"


def vocabulary_of(texts: Iterable[str], kind: Tokens, most: int | None, least: int, lowercase: bool) -> Vocabulary:
    """What occurs in some texts.

    Args:
        kind: what a token is.
        most: how many of the most frequent tokens are kept; None keeps all.
        least: how often a token must occur to be kept.
        lowercase: texts are read in lower case.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        text = text.lower() if lowercase else text
        counts.update(text if kind == "characters" else text.split())
    del counts[UNKNOWN_TEXT]  # a file that was cut to a vocabulary already says so itself
    kept = sorted((token for token in counts if counts[token] >= least), key=lambda token: (-counts[token], token))
    return Vocabulary(kind, ("" if kind == "characters" else " ").join(kept[:most]), lowercase)


def tokenizer_in(path: Path, lowercase: bool) -> Vocabulary:
    """The vocabulary of a tokenizer that the package `tokenizers` saved.

    Raises:
        DataError: the file cannot be read, or is none; or the package is not installed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no UTF-8 text ({error.reason})") from error
    vocabulary = Vocabulary("tokenizer", text, lowercase)
    try:
        len(vocabulary)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return vocabulary
