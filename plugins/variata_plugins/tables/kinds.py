"""What the columns of a table are, and their texts as numbers.

Without a word from the user, a column most of whose values are numbers is numeric; it is one of counts where they are
whole, from 0 up; it is categorical where there are but two different ones. Every other column is categorical. Too many
different texts (names, numbers of customers) are refused: a level for each would learn nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from variata import Column, ColumnKind, ConfigError, DataError, Problem

from .cells import Cells

Kind = Literal["numeric", "categorical", "count", "ignore"]
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")
MOST_LEVELS, MOST_CLASSES = 100, 20


def number(text: str) -> float:
    """The finite number that a text stands for; NaN where it is none."""
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


class Reader:
    """Texts of a table as numbers; NaN where one is missing.

    Args:
        cells: the table.
        missing: texts that stand for a missing value, besides an empty one.
        kinds: by name, what columns are, where it is not inferred.
    """

    def __init__(self, cells: Cells, missing: Sequence[str], kinds: Mapping[str, Kind]) -> None:
        self.cells, self._missing, self._kinds = cells, {"", *missing}, kinds
        for name in kinds:
            self._check_name(name, f"data.columns.{name}")

    def _check_name(self, name: str, path: str) -> None:
        if name not in self.cells.names:
            known = ", ".join(self.cells.names[:20])
            raise ConfigError(Problem(f"the table has no column {name!r} (it has {known})", path))

    def columns(self, label: str | None) -> tuple[list[Column], Column | None]:
        """What the columns are, without mean and deviation; and the label's, where one is named.

        Raises:
            ConfigError: a name that the table has not, or no column is left.
            DataError: values that a column's kind does not allow, or too many levels.
        """
        if label is not None:
            self._check_name(label, "data.label")
        names = [n for n in self.cells.names if n != label and self._kinds.get(n) != "ignore"]
        if not names:
            raise ConfigError(Problem("no column is left: ignore fewer of them", "data.columns"))
        of_label = None if label is None else self._column(label, is_label=True)
        return [self._column(name) for name in names], of_label

    def _column(self, name: str, is_label: bool = False) -> Column:
        texts = [text for text in self.cells.column(name) if text not in self._missing]
        numbers = [value for text in texts if not math.isnan(value := number(text))]
        said = self._kinds.get(name)
        kind = self._inferred(texts, numbers, is_label) if said in (None, "ignore") else said
        if not texts:
            message = f"{self.cells.source}: column {name} has no values: set data.columns.{name}=ignore"
            raise DataError(message)
        if kind == "categorical":
            levels = _levels(texts, len(numbers) == len(texts))
            if len(levels) > MOST_LEVELS and said is None:
                what = f"has {len(levels)} different texts, as names and keys do"
                remedy = f"set data.columns.{name}=ignore, or =categorical if each of them is a class"
                raise DataError(f"{self.cells.source}: column {name} {what}: {remedy}")
            return Column(name, kind, levels)
        return Column(name, kind)

    def _inferred(self, texts: list[str], numbers: list[float], is_label: bool) -> ColumnKind:
        if 2 * len(numbers) <= len(texts):
            return "categorical"
        different, whole = set(numbers), all(value.is_integer() for value in numbers)
        if len(numbers) == len(texts) and len(different) <= 2:
            return "categorical"
        if is_label:
            return "categorical" if whole and len(different) <= MOST_CLASSES else "numeric"
        return "count" if whole and min(numbers) == 0 else "numeric"

    def values(self, column: Column) -> Tensor:
        """The numbers of a column, `[rows]` in float64: of a numeric one as they are written, of a categorical one its
        levels' numbers.

        Raises:
            DataError: naming the place of a text that is no such value.
        """
        found = [self._value(row, text, column) for row, text in enumerate(self.cells.column(column.name))]
        return torch.tensor(found, dtype=torch.float64)

    def _value(self, row: int, text: str, column: Column) -> float:
        if text in self._missing:
            return math.nan
        name, value = column.name, number(text)
        if column.kind == "categorical":
            if text in column.levels:
                return float(column.levels.index(text))
            same = [place for place, level in enumerate(column.levels) if value == number(level)]
            if same:
                return float(same[0])
            raise self._wrong(row, name, text, f"is none of its levels ({', '.join(column.levels[:10])})")
        remedy = f"mend it, add it to data.missing, or set data.columns.{name}"
        if math.isnan(value):
            raise self._wrong(row, name, text, f"is no finite number: {remedy}=categorical")
        if column.kind == "count" and (value < 0 or not value.is_integer()):
            raise self._wrong(row, name, text, f"is no count (0, 1, 2, ...): {remedy}=numeric")
        return value

    def _wrong(self, row: int, name: str, text: str, message: str) -> DataError:
        return DataError(f"{self.cells.place(row, name)}: {text[:40]!r} {message}")


def _levels(texts: list[str], are_numbers: bool) -> tuple[str, ...]:
    """The different texts in their order; of equal numbers, the one that is written first."""
    if not are_numbers:
        return tuple(sorted(set(texts)))
    first: dict[float, str] = {}
    for text in texts:
        first.setdefault(number(text), text)
    return tuple(first[value] for value in sorted(first))
