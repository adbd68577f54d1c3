r"""The kind of component that chooses a structure, and the simplest one: a mixture of independent laws,

p(x) = sum_k w_k prod_v p_k(x_v).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from pydantic import PositiveInt
from torch import Tensor

from variata import Batch, DataSpec

from .graph import Graph


class Structure(ABC):
    """Chooses a structure for some data. Given: `data`.

    Attributes:
        units: K, the width of every leaf and of every region but the root.
        learned: the structure depends on the training data.
        selective: of all ways down from the root, an example has one (Peharz et al., 2014, Learning selective
            sum-product networks): leaves have to be indicators.
    """

    units: int
    learned: bool = False
    selective: bool = False

    @abstractmethod
    def graph(self, stream: Iterable[Batch] | None = None) -> Graph:
        """The structure. A learned one gives, without data, any graph whose arrays have the same shapes."""


class Weighted(Structure):
    """A structure whose weights have a closed form, too."""

    @abstractmethod
    def log_weights(self) -> list[Tensor]:
        """Of the graph learned last: a tensor for the root, and one for all other regions."""


class Mixture(Structure):
    """One layer: a mixture.

    Args:
        data: what an example is.
        units: how many components.
    """

    def __init__(self, data: DataSpec, *, units: PositiveInt = 16) -> None:
        self.variables, self.units = data.dimensions, units

    def graph(self, stream: Iterable[Batch] | None = None) -> Graph:
        return Graph.of(range(self.variables), [(0, range(self.variables))])
