"""Arrays of your own: images or tables in an npz, npy or safetensors file."""

from __future__ import annotations

import dataclasses
import json
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from variata import (
    ConfigError,
    Data,
    DataError,
    DataSpec,
    Problem,
    Seed,
    Share,
    Split,
    VariataWarning,
    check_finite,
    common_spec,
    infer_spec,
    split_rows,
)

from .pixels import Binarize, Dequantize, Pixels, Range

IN_MEMORY = 1 << 30
"""Bytes up to which a file is read into memory; larger npy and safetensors files are mapped."""


class Array(Data):
    """Numbers that somebody has, with labels or without.

    `[n, dimensions]` is a table, `[n, height, width]` and `[n, channels, height, width]` are images. Bytes are 256
    levels; other integers need `levels`; booleans, and floats that are all 0 or 1, are binary; floats in [0, 1] are
    grey or continuous values, other floats real numbers. A file may hold its own splits (`x_train`, `x_validation`,
    `x_test`, with `y_...`); what it does not have is held out from its training examples.

    Args:
        path: an npz, npy or safetensors file. npy and safetensors files of more than a gigabyte are mapped, not read.
        x, y: names of the arrays in it; without a name for y, the array "y" if there is one. An npy file holds only x.
        levels: how many levels integers have, from 0; 2 makes them binary.
        channels: which axis of `[n, a, b, c]` holds the channels, where their numbers do not say it.
        binarize, scale, dequantize: what becomes of levels and grey values (`pixels.py`).
        validation, test: examples that are held out, a number or a share.
        split_seed: of the permutation that chooses them.

    Raises:
        DataError: the file cannot be read, holds a pickle, NaN, or arrays that do not fit each other.
    """

    def __init__(
        self,
        *,
        path: Path,
        x: str = "x",
        y: str | None = None,
        levels: Annotated[int, Field(ge=2, le=65536)] | None = None,
        channels: Literal["first", "last"] | None = None,
        binarize: Binarize = "none",
        scale: Range = (0.0, 1.0),
        dequantize: Dequantize = "none",
        validation: Share = 0.1,
        test: Share = 0.1,
        split_seed: Seed = 0,
    ) -> None:
        parts = _parts(path, read_arrays(path), x, y)
        values, _ = parts["train"]
        sources = {}
        for name, (more, of_more) in parts.items():
            check_finite(more, str(path))
            if of_more is not None:
                check_finite(of_more, f"{path} {y}")
            sources[name] = _source(more, of_more, levels, path)
        source = common_spec(sources, str(path))
        shape, arrange = _arrangement(values.shape, channels, path)
        pixels = Pixels(dataclasses.replace(source, shape=shape), binarize, scale, dequantize)
        self.spec = pixels.spec
        amounts = {"validation": validation, "test": test}
        rows = split_rows(len(values), {n: a for n, a in amounts.items() if n not in parts}, split_seed)
        chosen = {name: (index, *parts["train"]) for name, index in rows.items()}
        chosen |= {name: (torch.arange(len(part[0])), *part) for name, part in parts.items() if name != "train"}
        self._splits = {
            name: pixels.split(
                name, _rows(of_x, index, arrange), None if of_y is None else torch.as_tensor(of_y)[index]
            )
            for name, (index, of_x, of_y) in chosen.items()
        }

    def split(self, name: str) -> Split:
        return self._splits[name]


Arrange = Callable[[np.ndarray], np.ndarray]


class MappedRows:
    """Some rows of an array on disk, read when they are asked for."""

    def __init__(self, values: np.ndarray, rows: Tensor, arrange: Arrange) -> None:
        self._values, self._rows, self._arrange = values, rows.numpy(), arrange
        self.shape = (len(rows), *arrange(values[:0]).shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self._arrange(self._values[self._rows[index]])


def _rows(values: np.ndarray, rows: Tensor, arrange: Arrange) -> Any:
    if isinstance(values, np.memmap):
        return MappedRows(values, rows, arrange)
    return torch.from_numpy(np.ascontiguousarray(arrange(values[rows.numpy()])))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of an npz, npy or safetensors file by its name; that of an npy file is x.

    Raises:
        DataError: the file cannot be read, is damaged, or holds a pickle.
    """
    try:
        large = path.stat().st_size > IN_MEMORY
        if path.suffix == ".npy" and large:
            return {"x": np.load(path, mmap_mode="c", allow_pickle=False)}
        if path.suffix in (".npy", ".npz"):
            with path.open("rb") as file:
                loaded = np.load(file, allow_pickle=False)
                return {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
        if path.suffix == ".safetensors":
            return _mapped_safetensors(path) if large else _safetensors(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, KeyError, struct.error, zipfile.BadZipFile) as error:
        if str(error).startswith("Object arrays"):
            message = "holds Python objects (a pickle), which may run code and are never read; save plain arrays"
            raise DataError(f"{path}: {message}") from error
        raise DataError(f"{path}: is no whole {path.suffix[1:]} file ({error})") from error
    raise DataError(f"{path}: must end in .npz, .npy or .safetensors")


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        loaded = load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    half = (torch.bfloat16, torch.float16)
    return {name: (value.float() if value.dtype in half else value).numpy() for name, value in loaded.items()}


_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def _mapped_safetensors(path: Path) -> dict[str, np.ndarray]:
    """A safetensors file is 8 bytes of length, that much JSON, and the values."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] in _TYPES:
            start = 8 + length + entry["data_offsets"][0]
            shape = tuple(entry["shape"])
            arrays[name] = np.memmap(path, _TYPES[entry["dtype"]], mode="c", offset=start, shape=shape)
    return arrays


Part = tuple[np.ndarray, np.ndarray | None]


def _parts(path: Path, arrays: dict[str, np.ndarray], x: str, y: str | None) -> dict[str, Part]:
    """The splits that a file holds; one that holds none is all "train"."""
    names = {x: "train", f"{x}_train": "train", f"{x}_test": "test"}
    names |= {f"{x}_validation": "validation", f"{x}_valid": "validation"}
    held = [name for name in names if name in arrays]
    splits = [names[name] for name in held]
    twice = [name for name in held if splits.count(names[name]) > 1]
    if "train" not in splits or twice:
        what = f"both {' and '.join(twice)}" if twice else f"no array {x!r} or '{x}_train'"
        raise DataError(f"{path}: holds {what} (it holds {', '.join(arrays) or 'nothing'}); name one with data.x")
    label = y or "y"
    parts = {names[name]: (_native(arrays[name]), arrays.get(label + name[len(x) :])) for name in held}
    if y is not None and all(labels is None for _, labels in parts.values()):
        raise DataError(f"{path}: holds no array {y!r} (it holds {', '.join(arrays)}); name one with data.y")
    for values, labels in parts.values():
        if values.dtype.kind not in "fiub":
            raise DataError(f"{path}: holds values of type {values.dtype}, and numbers are needed")
        if values.ndim < 2 or not values.size:
            raise DataError(f"{path}: needs at least one example of at least one axis, and {x} is {list(values.shape)}")
        if labels is not None and labels.shape[:1] != values.shape[:1]:
            raise DataError(f"{path}: there are {len(values)} examples but labels of shape {list(labels.shape)}")
        if labels is not None and labels.dtype.kind not in "fiub":
            raise DataError(f"{path}: has labels of type {labels.dtype}: number the classes from 0")
    return {
        name: (values, None if labels is None else _native(labels, label=True))
        for name, (values, labels) in parts.items()
    }


def _native(values: np.ndarray, label: bool = False) -> np.ndarray:
    """The same numbers in a type that torch has."""
    if label:
        return values.astype(np.float32 if values.dtype.kind == "f" else np.int64)
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        return values.astype(np.float64)
    if values.dtype.kind == "u" and values.dtype.itemsize > 1:
        return values.astype(np.int64)
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def _source(values: np.ndarray, labels: np.ndarray | None, levels: int | None, path: Path) -> DataSpec:
    """What the stored values are; `shape` is that of the file."""
    if values.dtype.kind not in "iu":
        if levels is not None:
            raise ConfigError(Problem("levels is for integers, and these values are not: remove it", "data.levels"))
        return infer_spec(values, labels, transform="as stored")
    if levels is None and values.dtype != np.uint8:
        raise ConfigError(
            Problem(f"{path} holds integers ({values.dtype}): say how many levels they have", "data.levels")
        )
    low, high = int(values.min()), int(values.max())
    count = levels or 256
    if low < 0 or high >= count:
        raise DataError(f"{path}: holds integers from {low} to {high}, and {count} levels are 0 .. {count - 1}")
    if levels is None and high <= 1:
        message = f"{path}: its bytes are all 0 or 1, taken for 2 of 256 levels; set data.levels=2 if they are binary"
        warnings.warn(message, VariataWarning, stacklevel=2)
    described = infer_spec(np.zeros((len(values), 1), np.uint8), labels, transform="as stored")
    support = "binary" if count == 2 else "levels"
    return dataclasses.replace(described, shape=tuple(values.shape[1:]), support=support, levels=count)


def _arrangement(
    shape: tuple[int, ...], channels: Literal["first", "last"] | None, path: Path
) -> tuple[tuple[int, ...], Arrange]:
    """Shape of one example as models see it, and how the stored array is brought to it."""
    if len(shape) == 3:
        return (1, *shape[1:]), lambda x: x[:, None]
    if len(shape) != 4:
        return tuple(shape[1:]), lambda x: x
    if channels is None:
        few = [axis for axis in (1, 3) if shape[axis] <= 4]
        if len(few) != 1:
            message = f"{path}: {list(shape)} does not say which axis holds the channels: set it"
            raise ConfigError(Problem(message, "data.channels"))
        channels = "first" if few == [1] else "last"
    if channels == "first":
        return tuple(shape[1:]), lambda x: x
    return (shape[3], shape[1], shape[2]), lambda x: np.moveaxis(x, 3, 1)
