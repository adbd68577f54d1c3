r"""p(z): z = T(z_0), z_0 ~ N(0, I); given y, T depends on it.

Chen, Kingma, Salimans, Duan, Dhariwal, Schulman, Sutskever and Abbeel (2017), Variational Lossy Autoencoder,
arXiv:1611.02731: an autoregressive prior is at least as good as the posterior of the inverse flow.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from variata import Factory, Prior, Shape, StandardNormal, default, make
from variata_plugins.priors.conditional import as_vector

from .flow import Flow
from .law import FlowLaw


class FlowPrior(Prior):
    """The standard normal, bent by a flow.

    Args:
        latent, condition: sizes, from the model.
        flow: T; training goes through it from z to z_0.
    """

    origin: Tensor

    def __init__(self, latent: int, condition: Shape | None, *, flow: Factory[Flow] = default("flow", "maf")) -> None:
        super().__init__()
        self.condition = condition
        context = math.prod(condition) if condition else 0
        self.flow = make(flow, features=latent, context=context, direction="density")
        self.register_buffer("origin", torch.zeros(latent), persistent=False)

    def forward(self, y: Tensor | None = None) -> FlowLaw:
        if self.condition is None or y is None:
            return FlowLaw(StandardNormal(self.origin), self.flow(None))
        context = as_vector(y, self.condition).to(self.origin.dtype)
        return FlowLaw(StandardNormal(self.origin.expand(len(y), -1)), self.flow(context))
