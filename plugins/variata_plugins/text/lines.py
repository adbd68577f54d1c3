"""The lines of a text file, and where in it each of them stands, for messages."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from variata import DataError


@dataclass(frozen=True)
class Line:
    """A line that is not blank: its file, its number from 1, and its text without the blanks around it."""

    file: str
    number: int
    text: str

    def place(self, column: int = 1) -> str:
        """`file:line:column`, both from 1."""
        return f"{self.file}:{self.number}:{column}"


def read_lines(path: Path) -> list[Line]:
    """The lines of a file in UTF-8, plain or gzip, that are not blank.

    Raises:
        DataError: it cannot be read, is no text in UTF-8 (by line and column), or has no line.
    """
    lines = every_line(path)
    kept = [line for line in lines if line.text.strip()]
    if not kept:
        raise DataError(f"{path}:1:1: is empty, and a line for each example is needed")
    return kept


def every_line(path: Path) -> list[Line]:
    """As `read_lines`, with the blank lines, whatever their number."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        text = content.decode("utf-8-sig")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is a damaged gzip file ({error}); get it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise DataError(f"{path}:{line}:{column}: is no UTF-8 text ({error.reason}); save it as UTF-8") from error
    lines = text.split("\n")
    lines = lines[:-1] if lines and not lines[-1] else lines
    return [Line(str(path), number, line.removesuffix("\r")) for number, line in enumerate(lines, start=1)]


def two_fields(line: Line) -> tuple[Line, Line]:
    """Source and target of a line, with a tab between them.

    Raises:
        DataError: there are not two fields, or one is blank, by line and column.
    """
    fields = line.text.split("\t")
    if len(fields) != 2:
        column = len(line.text) + 1 if len(fields) == 1 else len(fields[0]) + len(fields[1]) + 2
        found = "no tab" if len(fields) == 1 else f"{len(fields) - 1} tabs"
        raise DataError(f"{line.place(column)}: a source, a tab and a target are needed, and here is {found}: mend it")
    for name, field, column in zip(("source", "target"), fields, (1, len(fields[0]) + 2), strict=True):
        if not field.strip():
            raise DataError(f"{line.place(column)}: the {name} is empty: fill it, or remove the line")
    source, target = (Line(line.file, line.number, field) for field in fields)
    return source, target


def unlike(lines: Sequence[Line], seen: set[str]) -> list[Line]:
    """Those whose text was not seen; `seen` takes them up."""
    fresh = []
    for line in lines:
        if line.text not in seen:
            seen.add(line.text)
            fresh.append(line)
    return fresh
