"""The operator in plain torch: the fallback wherever Triton does not run."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .reference import gaussian_laplace_kl


def forward(mean: Tensor, logvar: Tensor, log_scale: Tensor) -> Tensor:
    """The formula, in float32 at least, and given in the type of the inputs."""
    return gaussian_laplace_kl(*_wide(mean, logvar, log_scale)).to(mean.dtype).contiguous()


def backward(mean: Tensor, logvar: Tensor, log_scale: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Its derivatives."""
    m, v, b, g = _wide(mean, logvar, log_scale, grad)
    s, over = (0.5 * v).exp(), (-b).exp()
    r = m / (s * math.sqrt(2))
    sign, slope = torch.erf(r), s * (-r.square()).exp() / math.sqrt(2 * math.pi)
    found = (g * sign * over, g * (slope * over - 0.5), g * (1 - (2 * slope + m * sign) * over))
    first, second, third = (value.to(mean.dtype).contiguous() for value in found)
    return first, second, third


def _wide(*values: Tensor) -> list[Tensor]:
    return [value.to(torch.promote_types(value.dtype, torch.float32)) for value in values]
