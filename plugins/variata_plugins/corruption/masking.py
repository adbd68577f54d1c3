r"""x~_i = m with probability r, else x_i; independently for each element i."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, FiniteFloat
from torch import Tensor

from variata import Corruption

Rate = Annotated[float, Field(ge=0, le=1)]


class Masking(Corruption):
    """Hides elements.

    Args:
        rate: r.
        value: m, what stands in the place of what is hidden.
    """

    def __init__(self, *, rate: Rate = 0.5, value: FiniteFloat = 0.0) -> None:
        super().__init__()
        self.rate, self.value = rate, value

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(torch.rand_like(x) < self.rate, self.value, x)
