"""Several parameters for each element of an example, from one network."""

from __future__ import annotations

from torch import Tensor

from variata import Shape


def packed_shape(shape: Shape, count: int) -> Shape:
    """The shape of `count` parameters for each element: `(count * channels, height, width)` for images, so that
    convolutions can make it, and `(count * dimensions,)` for tables.

    >>> packed_shape((3, 8, 8), 2), packed_shape((10,), 2)
    ((6, 8, 8), (20,))
    """
    return (count * shape[0], *shape[1:])


def unpacked(values: Tensor, shape: Shape, count: int) -> Tensor:
    """`[*lead, *packed]` -> `[*lead, *shape, count]`."""
    axis = values.ndim - len(shape)
    return values.unflatten(axis, (count, shape[0])).movedim(axis, -1)
