r"""The operator in plain torch: a matrix product of exponentials that are scaled by the maxima of rows and of columns.

Where no k has both a_mk and b_kn near their maxima, the product vanishes in the scaled numbers although the sum does
not. Those few entries are found and computed from the outer sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

# A scaled sum above this has lost nothing to underflow that its digits could show; a scaled gradient below the inverse
# of this has not left its range.
FAINT = {torch.float32: 2.0**-80, torch.float64: 2.0**-900}
STEEP = {torch.float32: 40.0, torch.float64: 400.0}
# So many elements of an outer sum are made at a time.
CHUNK = 1 << 22


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _scaled(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """exp(x - max) and the maximum over an axis, zero where all is -inf."""
    highest = x.amax(axis, keepdim=True)
    highest = torch.where(highest == -torch.inf, 0.0, highest)
    return (x - highest).exp_(), highest


def forward(a: Tensor, b: Tensor) -> Tensor:
    """`[batch, m, k]` and `[batch, k, n]` give `[batch, m, n]`."""
    a, b = _wide(a), _wide(b)
    if a.shape[-1] == 0:
        return a.new_full((*a.shape[:-1], b.shape[-1]), -torch.inf)
    if not a.numel() or not b.numel():
        return a.new_empty((*a.shape[:-1], b.shape[-1]))
    (left, highest_a), (right, highest_b) = _scaled(a, -1), _scaled(b, -2)
    total = left @ right
    faint = total < FAINT[a.dtype]
    out = total.log_().add_(highest_a).add_(highest_b)
    batch, row, column = faint.nonzero(as_tuple=True)
    step = max(1, CHUNK // a.shape[-1])
    for start in range(0, len(batch), step):
        p, m, n = (index[start : start + step] for index in (batch, row, column))
        out[p, m, n] = torch.logsumexp(a[p, m, :] + b[p, :, n], dim=-1)
    return out


def backward(a: Tensor, b: Tensor, out: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of a and b: both are sums of grad_mn exp(a_mk + b_kn - c_mn), each of at most |grad_mn|."""
    types = a.dtype, b.dtype
    a, b = _wide(a), _wide(b)
    if not a.numel() or not b.numel() or not out.numel():
        return torch.zeros_like(a, dtype=types[0]), torch.zeros_like(b, dtype=types[1])
    (left, highest_a), (right, highest_b) = _scaled(a, -1), _scaled(b, -2)
    rise = highest_a + highest_b - out
    impossible = out == -torch.inf
    steep = (rise > STEEP[a.dtype]) & ~impossible
    weight = torch.where(steep | impossible, 0.0, grad * rise.exp())
    by_a = left * (weight @ right.mT)
    by_b = right * (left.mT @ weight)
    batch, row, column = steep.nonzero(as_tuple=True)
    step = max(1, CHUNK // a.shape[-1])
    for start in range(0, len(batch), step):
        p, m, n = (index[start : start + step] for index in (batch, row, column))
        part = (a[p, m, :] + b[p, :, n] - out[p, m, n][:, None]).exp_() * grad[p, m, n][:, None]
        by_a.index_put_((p, m), part, accumulate=True)
        by_b.mT.index_put_((p, n), part, accumulate=True)
    return by_a.to(types[0]), by_b.to(types[1])
