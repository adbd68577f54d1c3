r"""log sum_k exp(a_ik + b_kj): the one operation that a circuit spends its time in.

    c_ij = m_i + n_j + log sum_k exp(a_ik - m_i) exp(b_kj - n_j),    m_i = max_k a_ik,  n_j = max_k b_kj

is a matrix product of numbers up to 1. Where the maxima of a row and of a column lie far apart, every product may
vanish
although the sum does not: such rows are done again, by the outer sum.

Peharz et al. (2020), Einsum networks, arXiv:2004.06231 (a layer of sums as a matrix product in the linear domain).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_ELEMENTS = 1 << 22


def log_matmul_exp(a: Tensor, b: Tensor) -> Tensor:
    """a `[n, rows, inner]` and b `[n, inner, columns]` -> `[n, rows, columns]`. A sum of nothing but exp(-inf) is -inf,
    with gradient zero."""
    return _LogMatmulExp.apply(a, b)  # pyright: ignore[reportReturnType]


class _LogMatmulExp(torch.autograd.Function):
    """Keeps the exponentials: the gradient is two matrix products more, and no further exponential."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        m, n = _finite_max(a, -1), _finite_max(b, -2)
        left, right = (a - m).exp_(), (b - n).exp_()
        total = left @ right
        result = total.log().add_(m).add_(n)
        ctx.again = bool(total.numel() and total.amin() < _least(total))
        if ctx.again:
            for item, row in _parts(total < _least(total), b):
                result[item, row] = (a[item, row][:, :, None] + b[item]).logsumexp(1)
        ctx.save_for_backward(left, right, total, *((a, b, result) if ctx.again else ()))
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        left, right, total, *exact = ctx.saved_tensors
        ratio = gradients[0] / total
        if ctx.again:
            ratio.masked_fill_(total < _least(total), 0.0)
        of_a = (ratio @ right.transpose(-1, -2)).mul_(left)
        of_b = (left.transpose(-1, -2) @ ratio).mul_(right)
        if ctx.again:
            a, b, result = exact
            lost = (total < _least(total)) & result.isfinite()
            gradient = gradients[0].masked_fill(~lost, 0.0)
            for item, row in _parts(lost, b):
                share = (a[item, row][:, :, None] + b[item] - result[item, row][:, None]).exp_()
                share = (share * gradient[item, row][:, None]).nan_to_num_(0.0)
                of_a[item, row] += share.sum(2)
                of_b.index_add_(0, item, share)
        return of_a, of_b


def _finite_max(values: Tensor, dim: int) -> Tensor:
    """The maximum, or 0 where that is -inf."""
    greatest = values.amax(dim, keepdim=True)
    return greatest.masked_fill_(greatest == -torch.inf, 0.0)


def _least(total: Tensor) -> float:
    """Sums below this have vanished, or are left with fewer digits than their type has."""
    limits = torch.finfo(total.dtype)
    return limits.tiny / limits.eps


def _parts(lost: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows in which something was lost, in parts that keep memory bounded."""
    item, row = lost.any(-1).nonzero(as_tuple=True)
    size = max(1, _ELEMENTS // (b.shape[-1] * b.shape[-2]))
    return zip(item.split(size), row.split(size), strict=True)
