"""p(z) = N(0, I)."""

from __future__ import annotations

import torch
from torch import Tensor

from variata import Prior, StandardNormal


class StandardNormalPrior(Prior):
    """The standard normal; it does not depend on y."""

    origin: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(latent), persistent=False)

    def forward(self, y: Tensor | None = None) -> StandardNormal:
        return StandardNormal(self.origin if y is None else self.origin.expand(len(y), -1))
