"""Live objects in place of a data set: tensors, arrays, map-style datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import torch

from .data import Data, Split, SplitName, check_finite, common_spec, infer_spec, split_rows
from .errors import DataError


class LiveData(Data):
    """Tensors, arrays or a map-style dataset that somebody passed in Python, held in memory.

    A tenth each is held out for validation and test, by a permutation of its own seed; a mapping of split names to
    such objects is taken as it is.
    """

    def __init__(self, value: Any) -> None:
        parts = value if isinstance(value, Mapping) else {"": value}
        if isinstance(value, Mapping) and ("train" not in parts or set(parts) - set(get_args(SplitName))):
            raise DataError(f"a mapping of splits has train, and may have validation and test (got {list(parts)})")
        arrays = {name: _arrays(part) for name, part in parts.items()}
        for name, part in arrays.items():
            for values in part:
                if values is not None:
                    check_finite(values, f"data {name}".strip())
        self.spec = common_spec({name or "train": infer_spec(*part) for name, part in arrays.items()}, "data")
        if "" in arrays:
            x, y = arrays[""]
            rows = split_rows(len(x), {"validation": 0.1, "test": 0.1}, seed=0)
            arrays = {name: (x[index], None if y is None else y[index]) for name, index in rows.items()}
        self._splits = {name: Split(*pair, transform=self._floating) for name, pair in arrays.items()}

    def _floating(self, x: torch.Tensor) -> torch.Tensor:
        x = x.to(torch.get_default_dtype()).reshape(-1, *self.spec.shape)
        return x / 255 if self.spec.support == "levels" else x

    def split(self, name: SplitName) -> Split:
        x = self._splits["train"].x
        return self._splits.get(name) or Split(x[:0])


def live_data(value: Any) -> Data:
    """The `Data` that a live object stands for."""
    return value if isinstance(value, Data) else LiveData(value)


def _arrays(value: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """x and y of a tensor, an array, a pair of them, or a map-style dataset of either."""
    if isinstance(value, tuple | list) and len(value) == 2 and all(hasattr(item, "shape") for item in value):
        return _tensor(value[0]), _tensor(value[1])
    if hasattr(value, "shape"):
        return _tensor(value), None
    if not (hasattr(value, "__len__") and hasattr(value, "__getitem__")):
        raise DataError(f"data of type {type(value).__name__} is neither a tensor nor a dataset with a length")
    items = [value[i] for i in range(len(value))]
    if not items:
        raise DataError("the data set is empty")
    rows = [item if isinstance(item, tuple | list) else (item,) for item in items]
    try:
        x, *y = (torch.stack([torch.as_tensor(value) for value in column]) for column in zip(*rows, strict=True))
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"data of type {type(value).__name__} does not stack to tensors: {error}") from error
    return x, y[0] if y else None


def _tensor(value: Any) -> torch.Tensor:
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"data of type {type(value).__name__} is no array of numbers: {error}") from error
    if not tensor.ndim or not len(tensor):
        raise DataError("the data has no examples: their number is its first axis")
    return tensor
