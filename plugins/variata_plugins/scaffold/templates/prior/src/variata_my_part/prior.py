r"""p(z) = prod_j Laplace(z_j; 0, b_j) = prod_j exp(-|z_j| / b_j) / (2 b_j), with scales that are learned."""

from __future__ import annotations

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.distributions import Independent, Laplace

from variata import Prior


class MyPart(Prior):
    """Independent Laplace laws; they do not depend on y.

    What stands before the * is given by the model, what stands after it is written in YAML.

    Args:
        latent: dimensions of z, from the model.
        scale: b, where it begins.
    """

    def __init__(self, latent: int, *, scale: PositiveFloat = 0.7) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((latent,), scale).log())

    def forward(self, y: Tensor | None = None) -> Independent:
        scale = self.log_scale.exp() if y is None else self.log_scale.exp().expand(len(y), -1)
        return Independent(Laplace(torch.zeros_like(scale), scale, validate_args=False), 1, validate_args=False)
