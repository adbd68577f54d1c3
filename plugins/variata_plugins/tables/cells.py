"""A file as a table of texts, and where in it each of them stands, for messages. CSV is read by Python's own module;
parquet by pyarrow, where that is installed (`pip install variata[tables]`)."""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from variata import DataError, VariataWarning


class Cells:
    """A table of texts.

    Args:
        source: what it was read from, for messages.
        names: of the columns.
        rows: a text for each column; an empty one where there is none.
        starts: where each row begins in `text`, and `text` itself, where it is a text file.
    """

    def __init__(
        self,
        source: str,
        names: Sequence[str],
        rows: list[list[str]],
        starts: Sequence[int] = (),
        text: str = "",
        separator: str = ",",
    ) -> None:
        self.source, self.names, self.rows = source, list(names), rows
        self._starts, self._text, self._separator = starts, text, separator

    def column(self, name: str) -> list[str]:
        """The texts of a column, without the blanks around them."""
        place = self.names.index(name)
        return [row[place].strip() for row in self.rows]

    def place(self, row: int, name: str) -> str:
        """`file:line:column`, both from 1, and the name; of what is no text file, the row's number."""
        if not self._starts:
            return f"{self.source}: row {row + 1}, column {name}"
        field, inside, at = self.names.index(name), False, self._starts[row]
        while field and at < len(self._text):
            inside ^= self._text[at] == '"'
            field -= self._text[at] == self._separator and not inside
            at += 1
        return f"{self.source}:{_line_and_column(self._text, at)}: column {name}"


def _line_and_column(text: str, at: int) -> str:
    return f"{text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}"


def read_cells(path: Path, header: bool = True, separator: str = ",") -> Cells:
    """The table in a file: parquet where it is named so, else text, plain or gzip.

    Raises:
        DataError: it cannot be read, its rows are of different lengths, or two columns have one name.
    """
    if path.suffix == ".parquet":
        return _parquet(path)
    text = _text(path)
    starts, rows = [], []
    try:
        for start, row in _rows(text, separator):
            starts.append(start)
            rows.append(row)
    except csv.Error as error:
        raise DataError(f"{path}: is no table of texts with {separator!r} between them: {error}") from error
    if not rows:
        raise DataError(f"{path}:1:1: is empty, and a row for each example is needed")
    width = len(rows[0])
    for start, row in zip(starts, rows, strict=True):
        if len(row) != width:
            remedy = "mend it, or set data.separator" if len(rows[0]) == 1 or len(row) == 1 else "mend it"
            where = f"{path}:{_line_and_column(text, start)}"
            raise DataError(f"{where}: the row has {len(row)} values, and the first one has {width}: {remedy}")
    names = [name.strip() for name in rows[0]] if header else [f"c{place + 1}" for place in range(width)]
    if header:
        _check_names(names, path)
        starts, rows = starts[1:], rows[1:]
    if not rows:
        raise DataError(f"{path}: has names of columns and no rows; set data.header=false if its first row is one")
    return Cells(str(path), names, rows, starts, text, separator)


def _rows(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Where each row begins, and its texts; empty lines are left out."""
    lines = _Counted(text)
    start = 0
    for row in csv.reader(lines, delimiter=separator, strict=True):
        if row:
            yield start, row
        start = lines.done


class _Counted:
    """The lines of a text, with the number of characters given so far."""

    def __init__(self, text: str) -> None:
        self._lines, self.done = io.StringIO(text, newline=""), 0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.done += len(line)
        return line


def _check_names(names: list[str], path: Path) -> None:
    for place, name in enumerate(names):
        if not name:
            raise DataError(f"{path}:1: column {place + 1} has no name; name it, or set data.header=false")
        if name in names[:place]:
            raise DataError(f"{path}:1: two columns are named {name}; rename one, or set data.header=false")
    if all(_is_number(name) for name in names):
        message = (
            f"{path}: its first row holds numbers alone and is taken for names; set data.header=false if it is data"
        )
        warnings.warn(message, VariataWarning, stacklevel=2)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        return content.decode("utf-8-sig")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is a damaged gzip file ({error}); get it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: is no UTF-8 text ({error.reason}); save it as UTF-8") from error


def _parquet(path: Path) -> Cells:
    try:
        pyarrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(
            f"{path}: parquet needs pyarrow: pip install 'variata[tables]', or save the table as CSV"
        ) from (error)
    try:
        table = parquet.read_table(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: is no whole parquet file ({error})") from error
    names = list(table.column_names)
    _check_names(names, path)
    columns = [[_written(value) for value in table.column(name).to_pylist()] for name in names]
    if not table.num_rows:
        raise DataError(f"{path}: has no rows")
    return Cells(str(path), names, [list(row) for row in zip(*columns, strict=True)])


def _written(value: object) -> str:
    return "" if value is None or value != value else repr(value) if isinstance(value, float) else str(value)
