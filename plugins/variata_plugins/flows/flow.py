"""A part of a model that gives an invertible map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

from .bijection import Bijection

Direction = Literal["sample", "density"]


class Flow(nn.Module, ABC):
    """An invertible map from noise z_0 to z that may depend on a context. Given, name those that are needed:
    `features`, the size of z; `context`, that of the context (0 for none); `direction`, in which training goes through
    it: "sample", from z_0 to z, in a posterior, "density", from z to z_0, in a prior."""

    @abstractmethod
    def forward(self, context: Tensor | None) -> Bijection:
        """context `[*batch, context]` -> the map of `[*, *batch, features]`."""
