r"""p(z) = 1 / |S^{m-1}|, of which draws are Gaussians brought to length one."""

from __future__ import annotations

import torch
from torch import Tensor

from variata import Prior

from .encoder import check_latent
from .laws import HypersphericalUniform


class HypersphericalUniformPrior(Prior):
    """Uniform on the unit sphere of R^latent; it does not depend on y.

    Raises:
        ConfigError: fewer than two coordinates.
    """

    origin: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        check_latent(latent)
        self.register_buffer("origin", torch.zeros(latent), persistent=False)

    def forward(self, y: Tensor | None = None) -> HypersphericalUniform:
        return HypersphericalUniform(self.origin if y is None else self.origin.expand(len(y), -1))
