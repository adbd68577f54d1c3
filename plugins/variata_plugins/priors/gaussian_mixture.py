r"""p(z) = sum_k pi_k N(z; m_k, diag s_k^2), everything learned; given y, log pi, m and log s^2 are affine in y.

A mixture is what a model of clusters asks for: Dilokthanakul et al. (2016), Deep Unsupervised Clustering with Gaussian
Mixture Variational Autoencoders, arXiv:1611.02648; Jiang, Zheng, Tan, Tang and Zhou (2017), Variational Deep Embedding,
arXiv:1611.05148.
"""

from __future__ import annotations

import math

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from variata import DiagonalNormal, Prior, Shape

from .conditional import Parameters, as_vector
from .mixture import DiagonalMixture


class GaussianMixturePrior(Prior):
    """A mixture of Gaussians.

    Args:
        latent, condition: sizes, from the model.
        components: K.
        spread: standard deviation of the components' means at the start, where their variances are 1.
    """

    def __init__(
        self,
        latent: int,
        condition: Shape | None,
        *,
        components: PositiveInt = 10,
        spread: PositiveFloat = 1.0,
    ) -> None:
        super().__init__()
        self.condition = condition
        start = [torch.zeros(components), spread * torch.randn(components, latent), torch.zeros(components, latent)]
        self.law = Parameters(start, math.prod(condition) if condition else 0)

    def forward(self, y: Tensor | None = None) -> DiagonalMixture:
        given = as_vector(y, self.condition) if self.condition is not None and y is not None else None
        logits, mean, logvar = self.law(given)
        return DiagonalMixture(DiagonalNormal(mean, logvar), logits.log_softmax(-1))
