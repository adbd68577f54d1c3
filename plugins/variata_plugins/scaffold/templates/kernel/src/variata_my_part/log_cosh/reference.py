"""The operator as a formula that autograd differentiates: what every implementation has to agree with."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_cosh(x: Tensor) -> Tensor:
    """log (e^x + e^-x) / 2, of x's shape."""
    return torch.logaddexp(x, -x) - math.log(2)
