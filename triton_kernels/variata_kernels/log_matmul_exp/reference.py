r"""The operator as a formula that autograd differentiates: what every kernel has to agree with.

c_mn = log sum_k exp(a_mk + b_kn)
"""

from __future__ import annotations

import torch
from torch import Tensor


def log_matmul_exp(a: Tensor, b: Tensor) -> Tensor:
    """`[*batch, m, k]` and `[*batch, k, n]` give `[*batch, m, n]`, in float32 or wider, by the outer sum itself."""
    wide = torch.promote_types(a.dtype, torch.float32)
    return torch.logsumexp(a.to(wide).unsqueeze(-1) + b.to(wide).unsqueeze(-3), dim=-2)
