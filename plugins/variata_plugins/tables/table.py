"""The rows of a CSV or parquet file. What each column is, is inferred (`kinds.py`) and shown by `variata check` and
`variata show`, and where training begins; it can be said by name instead. Numeric columns are standardised by the
training rows alone."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from variata import (
    Column,
    DataError,
    DataSpec,
    Seed,
    Share,
    Split,
    TableData,
    VariataWarning,
    split_rows,
)

from .cells import Cells, read_cells
from .kinds import MISSING, Kind, Reader

Hidden = Annotated[float, Field(ge=0, lt=1)]
_HIDING_SEED = 778
Separator = Annotated[str, Field(min_length=1, max_length=1)]


class Table(TableData):
    """A file of yours: a row for each example, a column for each of its values.

    Args:
        path: text with a separator between values (.csv, .tsv, ..., plain or .gz), or .parquet.
        label: name of the column that becomes y: classes, or numbers (standardised). It must have no gaps.
        columns: by name, what columns are (numeric, categorical, count), or ignore; the others are inferred.
        header: the first row holds names; without it they are c1, c2, ...
        separator: between values.
        missing: texts that stand for a missing value, besides an empty one.
        hide: share of the values that are hidden at random, so that their imputation can be measured.
        validation, test: rows that are held out, a number or a share.
        split_seed: of the permutation that chooses them, and of what is hidden.

    Raises:
        DataError: the file cannot be read; a value that its column's kind does not allow, by line and column.
        ConfigError: a name that the table has not.
    """

    def __init__(
        self,
        *,
        path: Path,
        label: str | None = None,
        columns: Mapping[str, Kind] | None = None,
        header: bool = True,
        separator: Separator = ",",
        missing: Sequence[str | int | float] = MISSING,
        hide: Hidden = 0.0,
        validation: Share = 0.1,
        test: Share = 0.1,
        split_seed: Seed = 0,
    ) -> None:
        cells = read_cells(path, header, separator)
        amounts = {"validation": validation, "test": test}
        texts = [str(text) for text in missing]
        self._rows = Rows(Reader(cells, texts, columns or {}), label, hide, amounts, split_seed)
        self.spec = self._rows.spec

    def split(self, name: str) -> Split:
        return self._rows.split(name)

    def complete(self, name: str) -> Tensor:
        return self._rows.complete[name]


class Rows:
    """The rows of a table as models see them, in splits.

    Args:
        reader: of its texts.
        label: name of the column that becomes y.
        hide: share of the values that are hidden.
        held_out: as for `split_rows`.
        seed: as well.
    """

    def __init__(
        self, reader: Reader, label: str | None, hide: float, held_out: dict[str, float | int], seed: int
    ) -> None:
        source = reader.cells.source
        found, of_label = reader.columns(label)
        values = torch.stack([reader.values(column) for column in found], dim=1)
        rows = split_rows(len(values), held_out, seed)
        generator = torch.Generator().manual_seed(_HIDING_SEED + seed)
        shown = values.masked_fill(torch.rand(values.shape, generator=generator) < hide, math.nan) if hide else values
        columns = [_measured(column, part, source) for column, part in zip(found, shown[rows["train"]].T, strict=True)]
        y, described = None, None
        if of_label is not None:
            y = reader.values(of_label)
            _check_label(y, of_label.name, reader.cells)
            described = _measured(of_label, y[rows["train"]], source)
            y = y.long() if described.levels else standardised(y[:, None], [described]).float()
        classes = len(described.levels) if described is not None and described.levels else None
        self.spec = DataSpec(
            (len(columns),),
            columns=tuple(columns),
            label=described,
            classes=classes,
            condition=(1,) if described is not None and classes is None else None,
            missing=bool(shown.isnan().any()),
            **_support(columns),
        )
        shown, complete = standardised(shown, columns), standardised(values, columns)
        self.complete = {name: complete[index] for name, index in rows.items()}
        self._splits = {n: Split(shown[index], None if y is None else y[index]) for n, index in rows.items()}

    def split(self, name: str) -> Split:
        return self._splits[name]


def _measured(column: Column, values: Tensor, source: str) -> Column:
    """The column with what its training values, `[rows]`, say of it."""
    there = values[~values.isnan()]
    missing = round(1 - len(there) / max(1, len(values)), 6)
    if not len(there):
        message = f"column {column.name} has no value among the training rows: set data.columns.{column.name}=ignore"
        raise DataError(f"{source}: {message}")
    if column.kind == "categorical":
        return dataclasses.replace(column, missing=missing)
    mean, std = float(there.mean()), float(there.std(correction=0))
    if std <= 1e-12 * max(1.0, abs(mean)):
        message = f"{source}: column {column.name} is constant; set data.columns.{column.name}=ignore"
        warnings.warn(message, VariataWarning, stacklevel=2)
        std = 1.0
    return dataclasses.replace(column, mean=mean, std=std, missing=missing)


def standardised(values: Tensor, columns: Sequence[Column]) -> Tensor:
    """Numbers as they are written, `[rows, columns]`, as models see them."""
    numeric = [column.kind == "numeric" for column in columns]
    mean = torch.tensor([c.mean if n else 0.0 for c, n in zip(columns, numeric, strict=True)], dtype=values.dtype)
    std = torch.tensor([c.std if n else 1.0 for c, n in zip(columns, numeric, strict=True)], dtype=values.dtype)
    return (values - mean) / std


def _check_label(y: Tensor, name: str, cells: Cells) -> None:
    if (gaps := y.isnan()).any():
        row = int(gaps.nonzero()[0, 0])
        raise DataError(f"{cells.place(row, name)}: the label is missing: remove the row, or set data.label to another")


def _support(columns: Sequence[Column]) -> dict[str, Any]:
    """What the values of a row are together."""
    kinds = {column.kind for column in columns}
    if kinds == {"categorical"} and all(len(column.levels) == 2 for column in columns):
        return {"support": "binary", "levels": 2, "measure": "counting", "transform": "as stored"}
    limits = {"low": -math.inf, "high": math.inf}
    if "numeric" not in kinds:
        return {"support": "mixed", "measure": "counting", "transform": "as stored", **limits}
    support, measure = ("real", "lebesgue") if kinds == {"numeric"} else ("mixed", "mixed")
    return {"support": support, "measure": measure, "transform": "numbers in standard deviations", **limits}
