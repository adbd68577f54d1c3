"""The lines of a file, each a string."""

from __future__ import annotations

from pathlib import Path

from pydantic import PositiveInt

from variata import Data, Seed, Split

from .lines import read_lines
from .strings import Limits, Reading, Share, Texts, TooLong, in_splits
from .vocabulary import Tokens


class Text(Data):
    """A text file of yours, in UTF-8, plain or .gz: a line for each example; blank ones are passed over.

    Args:
        path: the file.
        validation_path, test_path: files that are held out, in place of lines of the first one.
        tokens: what a token is: characters, or words, which are what blanks separate.
        tokenizer: a file that the package `tokenizers` saved, in place of either.
        vocabulary_size: how many of the most frequent tokens of the training lines are known; null for all. The others
            are one unknown token, as are those of other lines that do not occur in training.
        least: how often a token must occur in the training lines to be known.
        lowercase: read everything in lower case.
        longest: tokens of a string; null for those of the longest line.
        too_long: what is done with a longer line: it is an error, or is cut, or left out.
        bucketing: batches of training hold lines of about one length.
        validation, test: lines that are held out, a number or a share.
        split_seed: of the permutation that chooses them.

    Raises:
        DataError: the file cannot be read, is empty, or has a line that is too long, by line and column.
        ConfigError: options that exclude each other.
    """

    def __init__(
        self,
        *,
        path: Path,
        validation_path: Path | None = None,
        test_path: Path | None = None,
        tokens: Tokens = "characters",
        tokenizer: Path | None = None,
        vocabulary_size: PositiveInt | None = None,
        least: PositiveInt = 1,
        lowercase: bool = False,
        longest: PositiveInt | None = None,
        too_long: TooLong = "error",
        bucketing: bool = True,
        validation: Share = 0.1,
        test: Share = 0.1,
        split_seed: Seed = 0,
    ) -> None:
        files = {"validation": validation_path, "test": test_path}
        parts = {name: read_lines(file) for name, file in files.items() if file is not None}
        amounts = {"validation": validation, "test": test} | dict.fromkeys(parts, 0)
        lines = in_splits(read_lines(path), **amounts, seed=split_seed) | parts
        reading = Reading(tokens, tokenizer, vocabulary_size, least, lowercase)
        self._texts = Texts(lines, None, reading, Limits(longest, too_long), bucketing)
        self.spec = self._texts.spec

    def split(self, name: str) -> Split:
        return self._texts.splits[name]
