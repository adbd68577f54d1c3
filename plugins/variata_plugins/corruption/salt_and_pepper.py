r"""x~_i = low with probability r / 2, high with probability r / 2, else x_i; independently for each element i."""

from __future__ import annotations

import torch
from torch import Tensor

from variata import ConfigError, Corruption, DataSpec, Problem

from .masking import Rate


class SaltAndPepper(Corruption):
    """Sets elements to the least or the greatest value.

    Args:
        data: says which those are.
        rate: r. What is set to the value that it had does not change: of binary data a share r / 2 does.

    Raises:
        ConfigError: the values have no bounds.
    """

    def __init__(self, data: DataSpec, *, rate: Rate = 0.4) -> None:
        super().__init__()
        if data.support == "real":
            raise ConfigError(Problem("values without bounds have no salt and pepper: use gaussian or masking"))
        self.rate, self.low, self.high = rate, data.low, data.high

    def forward(self, x: Tensor) -> Tensor:
        u = torch.rand_like(x)
        x = torch.where(u < self.rate, self.high, x)
        return torch.where(u < self.rate / 2, self.low, x)
