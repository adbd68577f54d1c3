"""What a data set says about itself, and batches of it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter
from torch import Tensor

from .columns import Column
from .errors import DataError
from .sequences import Vocabulary

Shape = tuple[int, ...]
SplitName = Literal["train", "validation", "test"]
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]
"""A seed that every generator takes."""
Share = NonNegativeInt | Annotated[float, Field(ge=0, lt=1)]
"""A number of examples, or a share of them."""


@dataclass(frozen=True)
class DataSpec:
    """What one example is.

    Attributes:
        shape: of one example: `(channels, height, width)` for images, `(dimensions,)` for tables.
        support: the values that an element takes: "binary" (0 or 1), "levels" (`levels` equally spaced values from
            `low` to `high`), "interval" (any number from `low` to `high`), "real"; "mixed" where `columns` differ;
            "tokens" where an example is a string (`sequences.py`).
        levels: how many values there are, or were before dequantisation; of tokens, the size of the vocabulary.
        low, high: the least and the greatest value.
        measure: what likelihoods are densities with respect to: "counting", "lebesgue", or "mixed": "lebesgue" for
            numeric columns and "counting" for the others.
        transform: how the values came to be, for reports ("dynamic binarisation").
        classes: how many labels there are; None where examples have none.
        condition: shape of a vector y that is not a label; of a string of tokens its width.
        columns: of a table, what each element is; empty where that is not known.
        label: of a table, the column that y was taken from.
        missing: examples may lack elements, which are NaN.
        labelled: how many training examples have their label; None where all have it that there are.
        vocabulary: of an example that is a string, which text each token is.
        source: of a condition that is a string, the same.
    """

    shape: Shape
    support: Literal["binary", "levels", "interval", "real", "mixed", "tokens"]
    levels: int | None = None
    low: float = 0.0
    high: float = 1.0
    measure: Literal["counting", "lebesgue", "mixed"] = "counting"
    transform: str = "none"
    classes: int | None = None
    condition: Shape | None = None
    columns: tuple[Column, ...] = ()
    label: Column | None = None
    missing: bool = False
    labelled: int | None = None
    vocabulary: Vocabulary | None = None
    source: Vocabulary | None = None

    @property
    def condition_shape(self) -> Shape | None:
        """Shape of y as networks see it: one-hot labels, or the vector."""
        return self.condition if self.classes is None else (self.classes,)

    @property
    def dimensions(self) -> int:
        """Number of elements of one example."""
        return math.prod(self.shape)

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3

    @property
    def regular(self) -> bool:
        """Whether all elements are numbers of one kind, and none is missing."""
        return self.support not in ("mixed", "tokens") and not self.missing

    def describe(self) -> str:
        """In words, for messages.

        >>> DataSpec((1, 8, 8), "levels", levels=17).describe()
        'of 17 levels (grey, not binarised)'
        """
        missing = ", some missing" if self.missing else ""
        match self.support:
            case "binary":
                return f"binary{missing}"
            case "levels":
                return f"of {self.levels} levels (grey, not binarised){missing}"
            case "interval":
                return f"continuous in [{self.low:g}, {self.high:g}]{missing}"
            case "mixed":
                return f"mixed (columns of several kinds){missing}"
            case "tokens":
                return f"strings of {self.levels} tokens"
            case _:
                return f"real-valued{missing}"

    def lines(self) -> list[str]:
        """What the columns of a table were found to be, a line for each; of strings, their vocabularies."""
        found = [f"column {column.describe()}" for column in self.columns]
        found += [f"label {self.label.describe()}"] if self.label else []
        found += [f"tokens: {self.vocabulary.describe()}"] if self.vocabulary else []
        return found + ([f"tokens of the source: {self.source.describe()}"] if self.source else [])

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> DataSpec:
        """What `to_json` gave.

        Raises:
            ValueError: it is something else.
        """
        return TypeAdapter(cls).validate_python(values)


@dataclass
class Batch:
    """Examples that are trained on together.

    Attributes:
        x: `[batch, *event]`, floating point.
        y: `[batch]` integer labels or `[batch, *condition]` vectors; None where the data has none.
        index: `[batch]` row of each example in its split.
        labelled: `[batch]` whether y is known, which is -1 where it is not; None where it is known of all.
    """

    x: Tensor
    y: Tensor | None = None
    index: Tensor | None = None
    labelled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Tensor) -> Batch:
        """Some of the examples."""
        y, labelled = (None if values is None else values[rows] for values in (self.y, self.labelled))
        return Batch(self.x[rows], y, None if self.index is None else self.index[rows.cpu()], labelled)

    def labelled_part(self) -> Batch:
        """The examples whose y is known."""
        return self if self.labelled is None else self.take(self.labelled.nonzero()[:, 0])


class Rows(ABC):
    """Examples that are read when they are asked for, since they do not fit into memory; handed to a `Split` in place
    of an array. Other processes may read too: an instance is copied to them, so it opens files when it reads.

    Attributes:
        shape: `(n, *event)`, as of an array.
    """

    shape: Shape

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """The examples of these row numbers, `[len(rows), *event]`.

        Raises:
            DataError: they cannot be read, naming the file.
        """

    def order(self, generator: torch.Generator) -> Tensor:
        """The rows in the order of one epoch, `[n]`, a function of the generator alone. What is stored in blocks draws
        an order that keeps to a few blocks at a time."""
        return torch.randperm(len(self), generator=generator)


class Split:
    """One part of a data set, indexed by batch.

    Args:
        x: `[n, *event]` as stored, of any type: a tensor or an array in memory (or memory-mapped), or `Rows`.
        y: `[n]` or `[n, *condition]`, or None.
        transform: stored batch -> what models see, floating point; may draw from torch's generator.
        labelled: `[n]` whether y is known; None where it is known of all.
        lengths: `[n]` how long each example is, where batches are to hold examples of about one length.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        transform: Callable[[Tensor], Tensor] | None = None,
        labelled: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> None:
        self.x, self.y, self.transform, self.labelled, self.lengths = x, y, transform, labelled, lengths

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, index: Tensor) -> Batch:
        """The examples of these rows."""
        x = _rows(self.x, index)
        x = x.to(torch.get_default_dtype()) if self.transform is None else self.transform(x)
        y = None if self.y is None else _rows(self.y, index)
        labelled = None if self.labelled is None else _rows(self.labelled, index)
        return Batch(x, y.to(x.dtype) if y is not None and y.is_floating_point() else y, index, labelled)

    def labelled_rows(self) -> Tensor:
        """The rows whose y is known."""
        return torch.arange(len(self)) if self.labelled is None else self.labelled.nonzero()[:, 0].cpu()

    def batches(self, size: int) -> Iterator[Batch]:
        """All examples once, in their order."""
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self))))

    def order(self, generator: torch.Generator, size: int = 1) -> Tensor:
        """The rows in the order of one epoch, `[n]`, of which batches of `size` are taken. Where `lengths` are known,
        the examples of some batches at a time are sorted by them, and the batches stand in an order of their own."""
        if isinstance(self.x, Rows):
            return self.x.order(generator)
        order = torch.randperm(len(self), generator=generator)
        if self.lengths is None or size == 1:
            return order
        pools = [pool[self.lengths[pool].argsort(stable=True)] for pool in order.split(_POOL * size)]
        *batches, last = torch.cat(pools).split(size)  # the last one may be smaller, and stays where it is
        return torch.cat([*(batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()), last])

    def to(self, device: torch.device | str) -> Split:
        """The same split with what is held in memory on a device, where it fits."""
        if torch.device(device).type == "cpu" or not isinstance(self.x, Tensor):
            return self
        try:
            y, labelled = (None if values is None else values.to(device) for values in (self.y, self.labelled))
            return Split(self.x.to(device), y, self.transform, labelled, self.lengths)
        except torch.OutOfMemoryError:  # then each batch is copied when it is read
            return self


def _rows(values: Any, index: Tensor) -> Tensor:
    if isinstance(values, Tensor):
        return values.index_select(0, index.to(values.device))
    return torch.from_numpy(np.ascontiguousarray(values[index.numpy()]))


class Stream:
    """The batches of a split in their order, as often as they are asked for: what `Prepares` gets."""

    def __init__(self, split: Split, batch_size: int, device: torch.device | str = "cpu") -> None:
        self.split, self.batch_size, self.device = split, batch_size, device

    def __len__(self) -> int:
        return len(self.split)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.split.batches(self.batch_size):
            yield on_device(batch, self.device)


def on_device(batch: Batch, device: torch.device | str) -> Batch:
    """The batch on a device."""
    if batch.x.device == torch.device(device):
        return batch
    y, labelled = (None if values is None else values.to(device) for values in (batch.y, batch.labelled))
    return Batch(batch.x.to(device), y, batch.index, labelled)


class Data(ABC):
    """A data set: `spec`, and three splits. Which example is in which split never depends on the seed of a run."""

    spec: DataSpec

    @abstractmethod
    def split(self, name: SplitName) -> Split:
        """One part; empty where there is none. May read files: called when it is needed.

        Raises:
            DataError: the data cannot be read or is not what it should be.
        """

    def with_options(self, *, labels: PositiveInt | None = None, label_seed: Seed = 0) -> Data:
        """The data set with what may be asked of any: its keyword options are written beside those of its constructor.

        Args:
            labels: how many training examples are labelled, equally many of each class; null leaves every label.
            label_seed: of the choice of these.

        Raises:
            ConfigError: as `labels.PartlyLabelled`.
        """
        from .labels import PartlyLabelled

        return self if labels is None else PartlyLabelled(self, labels, label_seed)


class TableData(Data):
    """A data set whose examples are rows of a table: `spec.columns` says what each element is."""

    @abstractmethod
    def complete(self, name: SplitName) -> Tensor:
        """The rows of a split as they were before some values were hidden on purpose, `[n, columns]` in float64; NaN
        where the source has none either."""


@dataclass(frozen=True)
class Factor:
    """One thing that examples differ in: its name, how many values it has, and whether their order means something."""

    name: str
    values: int
    ordered: bool = True


class FactorData(Data):
    """A data set that is made from factors: which of its values each example has is known, and any combination of them
    can be asked for."""

    factors: tuple[Factor, ...]

    @abstractmethod
    def render(self, values: Tensor) -> Batch:
        """The examples, as models see them, of these combinations, `[n, factors]` integers from 0."""


def split_rows(n: int, held_out: dict[str, float | int], seed: int) -> dict[str, Tensor]:
    """Row numbers of "train" and of each held-out part (a share below 1, or a number of examples), by a permutation
    that depends on `seed` alone.

    Raises:
        DataError: nothing is left to train on.
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    rows, start = {}, 0
    for name, amount in held_out.items():
        size = round(n * amount) if isinstance(amount, float) and amount < 1 else int(amount)
        rows[name] = order[start : start + size].sort().values
        start += size
    if start >= n:
        raise DataError(f"{start} of {n} examples are held out, so none is left to train on")
    return {"train": order[start:].sort().values, **rows}


def check_finite(x: Any, where: str) -> None:
    """Refuses NaN and infinity, naming the first row that has one.

    Raises:
        DataError: naming the source and the row.
    """
    chunk = max(1, 2**24 // max(1, math.prod(x.shape[1:])))
    for start in range(0, len(x), chunk):
        part = torch.as_tensor(np.asarray(x[start : start + chunk]))
        if (
            part.is_floating_point()
            and not (finite := part.isfinite().flatten(1).all(1) if part.ndim > 1 else part.isfinite()).all()
        ):
            row = start + int((~finite).nonzero()[0, 0])
            raise DataError(f"{where}: row {row} holds NaN or infinity; remove or impute such values before training")


_POOL = 50
_WIDTH = {"binary": 0, "interval": 1, "real": 2}
_MOST_CLASSES = 100_000


def common_spec(specs: Mapping[str, DataSpec], where: str) -> DataSpec:
    """What the splits of one data set are together: the training split, with every class that occurs.

    Args:
        specs: of each split by name, "train" among them.
        where: the source, for messages.

    Raises:
        DataError: another split has values that training has not (grey ones beside binary ones), other shapes, or
            labels of another form.
    """
    train = specs["train"]
    for name, other in specs.items():
        narrower = _WIDTH.get(other.support, 3) < _WIDTH.get(train.support, -1)
        if other.shape != train.shape or (other.support != train.support and not narrower):
            now, then = (f"{list(spec.shape)}, {spec.describe()}" for spec in (other, train))
            raise DataError(f"{where}: its {name} part is {now}, and its training part {then}")
        if (other.classes is None, other.condition) != (train.classes is None, train.condition):
            raise DataError(f"{where}: its {name} part has labels of another form than its training part, or none")
    return replace(train, classes=max((s.classes for s in specs.values() if s.classes is not None), default=None))


def infer_spec(x: Any, y: Any, transform: str = "as given") -> DataSpec:
    """What plain arrays say about themselves: booleans and floats that are all 0 or 1 are "binary", 8-bit integers 256
    "levels", floats within [0, 1] "interval", other numbers "real"; integer y are labels.

    Raises:
        DataError: values or labels of a type that has no meaning here.
    """
    x = torch.as_tensor(np.asarray(x)) if not isinstance(x, Tensor) else x
    shape = tuple(x.shape[1:]) or (1,)
    classes, condition = None, None
    if y is not None:
        y = torch.as_tensor(np.asarray(y)) if not isinstance(y, Tensor) else y
        if len(y) != len(x):
            raise DataError(f"there are {len(x)} examples but {len(y)} labels")
        if y.is_floating_point():
            condition = tuple(y.shape[1:]) or (1,)
        elif y.ndim == 1 and len(y) and int(y.min()) >= 0:
            classes = int(y.max()) + 1
            if classes > _MOST_CLASSES:
                raise DataError(f"labels go up to {classes - 1}: number the classes from 0 without gaps")
        else:
            raise DataError("labels must be integers from 0, one for each example")
    common: dict[str, Any] = {"classes": classes, "condition": condition, "transform": transform}
    if x.dtype == torch.uint8:
        return DataSpec(shape, "levels", levels=256, **common)
    low, high = (float(x.min()), float(x.max())) if x.numel() else (0.0, 1.0)
    if x.dtype == torch.bool or (low >= 0 and high <= 1 and bool(((x == 0) | (x == 1)).all())):
        return DataSpec(shape, "binary", levels=2, **common)
    if not x.is_floating_point():
        raise DataError(f"integers from {low:g} to {high:g} have no meaning of their own; give uint8 levels or floats")
    if low >= 0 and high <= 1:
        return DataSpec(shape, "interval", measure="lebesgue", **common)
    return DataSpec(shape, "real", low=-math.inf, high=math.inf, measure="lebesgue", **common)
