"""Sources and targets: x is the target, and y the source, a condition that is a string."""

from __future__ import annotations

from pathlib import Path

from pydantic import PositiveInt

from variata import Data, Seed, Split

from .lines import read_lines, two_fields
from .strings import Limits, Reading, Share, Texts, TooLong, in_splits
from .vocabulary import Tokens


class Pairs(Data):
    """A text file of yours, in UTF-8, plain or .gz: on each line a source, a tab and a target. Source and target have a
    vocabulary each, that of the training lines.

    Args:
        path: the file.
        validation_path, test_path: files that are held out, in place of lines of the first one.
        tokens, tokenizer, vocabulary_size, least, lowercase, longest, too_long: as for `text`, of both.
        bucketing: batches of training hold pairs of about one length.
        validation, test: lines that are held out, a number or a share.
        split_seed: of the permutation that chooses them.

    Raises:
        DataError: the file cannot be read, is empty, or has a line that is too long or no pair, by line and column.
        ConfigError: options that exclude each other.
    """

    def __init__(
        self,
        *,
        path: Path,
        validation_path: Path | None = None,
        test_path: Path | None = None,
        tokens: Tokens = "words",
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
        fields = {name: [two_fields(line) for line in part] for name, part in lines.items()}
        sources = {name: [source for source, _ in part] for name, part in fields.items()}
        targets = {name: [target for _, target in part] for name, part in fields.items()}
        reading = Reading(tokens, tokenizer, vocabulary_size, least, lowercase)
        self._texts = Texts(targets, sources, reading, Limits(longest, too_long), bucketing)
        self.spec = self._texts.spec

    def split(self, name: str) -> Split:
        return self._texts.splits[name]
