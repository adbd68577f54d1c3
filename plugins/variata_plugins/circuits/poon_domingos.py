r"""Rectangles of an image: every rectangle is cut in two, at every place where it may be cut.

Poon and Domingos (2011), Sum-product networks: a new deep architecture, arXiv:1202.3732, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from pydantic import PositiveInt

from variata import Batch, ConfigError, DataSpec, Problem

from .graph import Graph
from .structure import Structure


class PoonDomingos(Structure):
    """All rectangles whose sides lie on a grid. A cell of the grid, which is cut no further, is a mixture of
    independent laws of its pixels and channels. The number of rectangles grows with the fourth power of the number of
    cells along a side.

    Args:
        data: what an example is: an image.
        units: K.
        delta: side of a cell in pixels.

    Raises:
        ConfigError: the data is no image.
    """

    def __init__(self, data: DataSpec, *, units: PositiveInt = 8, delta: PositiveInt = 2) -> None:
        if not data.is_image:
            message = f"poon_domingos cuts images, and an example is {list(data.shape)}: use rat or hclt"
            raise ConfigError(Problem(message))
        self.shape, self.units, self.delta = data.shape, units, delta

    def graph(self, stream: Iterable[Batch] | None = None) -> Graph:
        channels, height, width = self.shape
        rows, columns = [[*range(0, size, self.delta), size] for size in (height, width)]
        spans = [[(a, b) for a in cuts for b in cuts if a < b] for cuts in (rows, columns)]
        rectangles = sorted(product(*spans), key=lambda r: -(r[0][1] - r[0][0]) * (r[1][1] - r[1][0]))
        variables = channels * height * width
        number = {rectangle: variables + place for place, rectangle in enumerate(rectangles)}
        products: list[tuple[int, list[int]]] = []
        for place, ((top, bottom), (left, right)) in enumerate(rectangles):
            cuts = [
                [number[(top, y), (left, right)], number[(y, bottom), (left, right)]] for y in rows if top < y < bottom
            ]
            cuts += [
                [number[(top, bottom), (left, x)], number[(top, bottom), (x, right)]]
                for x in columns
                if left < x < right
            ]
            cell = product(range(channels), range(top, bottom), range(left, right))
            products += [(place, cut) for cut in cuts] or [(place, [(c * height + y) * width + x for c, y, x in cell])]
        return Graph.of(range(variables), products)
