r"""g(z~, u): what stands on a rung of the ladder."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Combinator(nn.Module, ABC):
    """z^ = g(z~, u), feature by feature: an estimate of a layer's clean value from its noisy value z~ and from what is
    known above, u. Given: `features: int`; each layer has one of its own."""

    @abstractmethod
    def forward(self, noisy: Tensor, above: Tensor) -> Tensor:
        """z~ and u, each `[*lead, features]` -> z^ of the same shape."""
