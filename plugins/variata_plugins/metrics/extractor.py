r"""What examples are compared by: features f(x), `[n, *event]` -> `[n, d]`, under a name that every figure carries.

A distance between features is a property of the extractor as much as of the samples: two figures compare only where the
name, the data and the numbers of examples are the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from variata import Data, make


class Extractor(nn.Module, ABC):
    """f(x). `name` stands in the name of every figure that rests on it: "fid[pixels]"."""

    name: str

    @abstractmethod
    def fit(self, data: Data) -> dict[str, Any]:
        """Learns what it needs of the training split, the same each time; gives what a figure's notes say of it.

        Raises:
            Unsupported: the data is not what it can learn from.
        """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """x `[n, *event]` -> features `[n, d]`."""


class ModuleExtractor(Extractor):
    """Any module that maps examples to numbers, as it is; named by its class unless it says a `name`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.name = str(getattr(module, "name", type(module).__name__))

    def fit(self, data: Data) -> dict[str, Any]:
        return {}

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x).flatten(1)


def as_extractor(part: Any) -> Extractor:
    """The extractor that an option stands for: a component, or a module that somebody passed in Python."""
    made = make(part)
    return made if isinstance(made, Extractor) else ModuleExtractor(made)


def fitted(extractor: Extractor, data: Data) -> dict[str, Any]:
    """Fits an extractor in evaluation mode; torch's generator is left as it was, so that no draw depends on it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        notes = extractor.fit(data)
    extractor.eval()
    return notes
