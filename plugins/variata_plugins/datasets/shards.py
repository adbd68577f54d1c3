"""Arrays in many npz files, each of which fits into memory while all of them need not."""

from __future__ import annotations

import dataclasses
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from variata import Data, DataError, DataSpec, Rows, Seed, Share, Split, check_finite, infer_spec, split_rows

from .pixels import Binarize, Dequantize, Pixels, Range

_OPEN = 4
"""Files that an epoch's order draws from at a time, and that are kept in memory."""


class Shards(Rows):
    """Some rows of the arrays of one name in several files, one after the other.

    Args:
        files: npz files.
        lengths: of each file's array.
        rows: which of all rows, in rising order.
        key: the array's name.
    """

    def __init__(self, files: Sequence[Path], lengths: Sequence[int], rows: Tensor, key: str, event: Any) -> None:
        self.files, self.key, self.shape = list(files), key, (len(rows), *event)
        self._ends = np.array(list(accumulate(lengths)))
        self._rows = rows.numpy()
        self._shard = np.searchsorted(self._ends, self._rows, side="right")
        self._open: OrderedDict[int, np.ndarray] = OrderedDict()

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        wanted, shards = self._rows[rows], self._shard[rows]
        if not len(rows):
            return np.empty((0, *self.shape[1:]), self._array(0).dtype)
        parts = {int(shard): self._array(int(shard)) for shard in np.unique(shards)}
        starts = np.concatenate([[0], self._ends])
        return np.stack([parts[int(s)][row - starts[s]] for row, s in zip(wanted, shards, strict=True)])

    def order(self, generator: torch.Generator) -> Tensor:
        """A few files at a time, and the rows of these in any order."""
        held = torch.from_numpy(np.unique(self._shard))
        shards = held[torch.randperm(len(held), generator=generator)]
        parts = []
        for some in shards.split(_OPEN):
            rows = torch.from_numpy(np.flatnonzero(np.isin(self._shard, some.numpy())))
            parts.append(rows[torch.randperm(len(rows), generator=generator)])
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.long)

    def _array(self, shard: int) -> np.ndarray:
        if shard not in self._open:
            self._open[shard] = read_array(self.files[shard], self.key)
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(shard)
        return self._open[shard]

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_open": OrderedDict()}


class ShardedArrays(Data):
    """`PATH/*.npz`, each with an array x `[n, ...]`, and y where there are labels. Bytes are 256 levels, booleans are
    binary, floats are what all of them together are (which is looked up once, by reading every file).

    Args:
        path: the folder.
        x, y: names of the arrays in each file; without y there are no labels.
        binarize, scale, dequantize: what becomes of levels and grey values (`pixels.py`).
        validation, test: examples that are held out, a number or a share.
        split_seed: of the permutation that chooses them.

    Raises:
        DataError: there is no file, or one cannot be read or does not fit the others.
    """

    def __init__(
        self,
        *,
        path: Path,
        x: str = "x",
        y: str | None = None,
        binarize: Binarize = "none",
        scale: Range = (0.0, 1.0),
        dequantize: Dequantize = "none",
        validation: Share = 0.1,
        test: Share = 0.1,
        split_seed: Seed = 0,
    ) -> None:
        files = sorted(path.glob("*.npz"))
        if not files:
            raise DataError(f"{path}: holds no npz file")
        heads = [_head(file, x) for file in files]
        for file, (shape, dtype) in zip(files, heads, strict=True):
            if (shape[1:], dtype) != (heads[0][0][1:], heads[0][1]):
                now, then = (f"{dtype} {list(shape[1:])}" for shape, dtype in ((shape, dtype), heads[0]))
                raise DataError(f"{file}: its {x!r} is {now} for one example, and that of {files[0].name} {then}")
        lengths = [shape[0] for shape, _ in heads]
        labels = None if y is None else np.concatenate([read_array(file, y) for file in files])
        source = _described(files, x, labels, sum(lengths), path)
        pixels = Pixels(source, binarize, scale, dequantize)
        self.spec = pixels.spec
        self._splits = {}
        for name, rows in split_rows(sum(lengths), {"validation": validation, "test": test}, split_seed).items():
            shards = Shards(files, lengths, rows, x, heads[0][0][1:])
            of_y = None if labels is None else torch.as_tensor(labels)[rows]
            self._splits[name] = pixels.split(name, shards, of_y)

    def split(self, name: str) -> Split:
        return self._splits[name]


def read_array(file: Path, key: str) -> np.ndarray:
    """An array of an npz file.

    Raises:
        DataError: the file cannot be read, has no such array, or holds Python objects.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return arrays[key]
    except KeyError as error:
        raise DataError(f"{file}: holds no array {key!r}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error


def _head(file: Path, key: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array, without reading its values."""
    try:
        with zipfile.ZipFile(file) as archive, archive.open(f"{key}.npy") as member:
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, _, dtype = read[np.lib.format.read_magic(member)](member)
    except KeyError as error:
        raise DataError(f"{file}: holds no array {key!r}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    if dtype.hasobject or not shape:
        raise DataError(f"{file}: {key!r} is no array of numbers with an axis of examples")
    return shape, dtype


_WIDTH = ("binary", "interval", "real")


def _described(files: list[Path], key: str, labels: np.ndarray | None, total: int, path: Path) -> DataSpec:
    """What the data is. Of floats, the widest of what the files say."""
    if labels is not None and len(labels) != total:
        raise DataError(f"{path}: there are {total} examples but {len(labels)} labels")
    first = read_array(files[0], key)
    source = infer_spec(first, None, "as given")
    for file in files:
        if source.support == "levels":
            break
        values = first if file == files[0] else read_array(file, key)
        check_finite(values, str(file))
        other = infer_spec(values, None, "as given")
        if _WIDTH.index(other.support) > _WIDTH.index(source.support):
            source = other
    if labels is None:
        return source
    marked = infer_spec(np.zeros((total, 1), np.uint8), labels)
    return dataclasses.replace(source, classes=marked.classes, condition=marked.condition)
