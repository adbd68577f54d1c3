"""Invertible maps with known determinants, in both directions."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Bijection(ABC):
    """z = T(z_0) on vectors `[*lead, latent]`, with log |det| `[*lead]` of the map that was taken."""

    @abstractmethod
    def forward(self, start: Tensor) -> tuple[Tensor, Tensor]:
        """z_0 -> z, log |det dz/dz_0|."""

    @abstractmethod
    def inverse(self, end: Tensor) -> tuple[Tensor, Tensor]:
        """z -> z_0, log |det dz_0/dz|."""


class Reversed(Bijection):
    """The inverse of a map."""

    def __init__(self, bijection: Bijection) -> None:
        self.bijection = bijection

    def forward(self, start: Tensor) -> tuple[Tensor, Tensor]:
        return self.bijection.inverse(start)

    def inverse(self, end: Tensor) -> tuple[Tensor, Tensor]:
        return self.bijection.forward(end)


def directed(bijection: Bijection, direction: str) -> Bijection:
    """The map whose fast direction is `direction` ("sample" or "density"), from one that is fast forward."""
    return bijection if direction == "sample" else Reversed(bijection)
