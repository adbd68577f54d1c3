"""The formula, which autograd differentiates: what every implementation has to agree with."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def gaussian_laplace_kl(mean: Tensor, logvar: Tensor, log_scale: Tensor) -> Tensor:
    """KL(N(mean, exp logvar) || Laplace(0, exp log_scale)), element by element, in nats."""
    s = (0.5 * logvar).exp()
    ratio = mean / (s * math.sqrt(2))
    size = s * math.sqrt(2 / math.pi) * (-ratio.square()).exp() + mean * torch.erf(ratio)
    return log_scale + math.log(2) + size * (-log_scale).exp() - 0.5 * (logvar + math.log(2 * math.pi) + 1)
