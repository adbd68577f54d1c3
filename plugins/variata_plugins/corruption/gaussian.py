r"""x~ = x + s eps,  eps ~ N(0, I)."""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from variata import Corruption


class GaussianCorruption(Corruption):
    """Adds normal noise. Values may leave the range that the data has.

    Args:
        scale: s, in units of the data.
    """

    def __init__(self, *, scale: NonNegativeFloat = 0.5) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * torch.randn_like(x)
