"""Binary density-estimation sets: NAME.train.data, NAME.valid.data and NAME.test.data, comma-separated 0 and 1, a row
for each example, plain or gzip. The twenty sets that sum-product networks are compared on, or others of that format.

Lowd and Davis (2010), Learning Markov network structure with decision trees; Van Haaren and Davis (2012), Markov
network
structure learning: a randomized feature generation approach.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from pathlib import Path

import numpy as np
import torch

from variata import Data, DataError, DataSpec, Split

FILES = {"train": "train", "validation": "valid", "test": "test"}
_COMMA, _NEWLINE, _ZERO = b",\n0"


class DEBD(Data):
    """One of the sets, from a folder; nothing is downloaded.

    Args:
        name: of the set: nltcs, plants, dna, ...
        root: the folder that holds its three files, or a folder `debd` that does; by default the one that the
            environment variable VARIATA_DATA names.

    Raises:
        DataError: files that are missing, damaged, hold other values than 0 and 1, or rows of different lengths.
    """

    def __init__(self, *, name: str, root: Path | None = None) -> None:
        rows = {split: read_rows(path) for split, path in _files(name, root).items()}
        variables = rows["train"].shape[1]
        for split, values in rows.items():
            if values.shape[1] != variables:
                message = f"rows of {values.shape[1]} values, and its training file has rows of {variables}"
                raise DataError(f"{name}: its {split} file has {message}")
        self.spec = DataSpec((variables,), "binary", levels=2, transform="as stored")
        self._splits = {split: Split(torch.from_numpy(values)) for split, values in rows.items()}

    def split(self, name: str) -> Split:
        return self._splits[name]


def read_rows(path: Path) -> np.ndarray:
    """The values of one file, `[rows, variables]` bytes of 0 and 1.

    Raises:
        DataError: the file cannot be read or is damaged; a value is not 0 or 1, or a row is shorter or longer than the
            first, named by line and column.
    """
    content = _unpacked(path).replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"
    width = content.index(b"\n") + 1
    if width == 1:
        raise DataError(f"{path}:1:1: is empty, and rows of 0 and 1 with commas between them are needed")
    if len(content) % width:
        raise _wrong(path, content, width)
    table = np.frombuffer(content, np.uint8).reshape(-1, width)
    values, between = table[:, 0::2] - _ZERO, table[:, 1::2]
    if width % 2 or values.max() > 1 or (between[:, :-1] != _COMMA).any() or (between[:, -1] != _NEWLINE).any():
        raise _wrong(path, content, width)
    return values.copy()


def _wrong(path: Path, content: bytes, width: int) -> DataError:
    """What is wrong in the first line that is not as it should be."""
    expected = width // 2
    for number, line in enumerate(content.decode("latin-1").split("\n")[:-1], start=1):
        place = 1
        for value in line.split(","):
            if value not in ("0", "1"):
                return DataError(f"{path}:{number}:{place}: {value[:20]!r} is neither 0 nor 1")
            place += len(value) + 1
        count = line.count(",") + 1
        if count != expected:
            where = f"{path}:{number}:{min(len(line) + 1, width)}"
            return DataError(f"{where}: the row has {count} values, and the first one has {expected}")
    raise AssertionError("a line is wrong")


def _unpacked(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is a damaged gzip file ({error}); get it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _files(name: str, root: Path | None) -> dict[str, Path]:
    if not re.fullmatch(r"[\w.-]+", name):
        raise DataError(f"{name!r} is no name of a data set; set data.name to one such as nltcs")
    named = root or (Path(os.environ["VARIATA_DATA"]) if os.environ.get("VARIATA_DATA") else None)
    if named is None:
        raise DataError(f"{name} is looked for in data.root or the folder that VARIATA_DATA names; set one of them")
    for folder in (named, named / "debd"):
        found = {split: _found(folder, f"{name}.{part}.data") for split, part in FILES.items()}
        missing = [f"{name}.{FILES[split]}.data" for split, path in found.items() if path is None]
        if not missing:
            return {split: path for split, path in found.items() if path is not None}
        if len(missing) < len(FILES):
            raise DataError(f"{folder}: lacks {' and '.join(missing)} (plain or .gz)")
    here = sorted(
        {file.name.split(".")[0] for folder in (named, named / "debd") for file in folder.glob("*.train.data*")}
    )
    has = f"it has {', '.join(here)}" if here else "it has none"
    raise DataError(
        f"{named}: holds no set {name} ({name}.train.data, plain or .gz; {has}); set data.name or data.root"
    )


def _found(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
