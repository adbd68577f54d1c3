"""The operator in Triton: one pass over memory in each direction."""

# A kernel is written in Triton's language, of which Python's type checkers know nothing.
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false, reportIndexIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024
_LOG_2 = tl.constexpr(0.6931471805599453)
_WIDE = {torch.float64: tl.float64}


@triton.jit
def forward_kernel(x_pointer, out_pointer, size, WIDE: tl.constexpr, BLOCK: tl.constexpr):
    """log cosh x."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < size
    x = tl.abs(tl.load(x_pointer + at, mask=mask, other=0.0).to(WIDE))
    tl.store(out_pointer + at, x + tl.log(1 + tl.exp(-2 * x)) - _LOG_2, mask=mask)


@triton.jit
def backward_kernel(x_pointer, grad_pointer, out_pointer, size, WIDE: tl.constexpr, BLOCK: tl.constexpr):
    """grad tanh x."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < size
    x = tl.load(x_pointer + at, mask=mask, other=0.0).to(WIDE)
    grad = tl.load(grad_pointer + at, mask=mask, other=0.0).to(WIDE)
    small = tl.exp(-2 * tl.abs(x))
    tanh = (1 - small) / (1 + small)
    tl.store(out_pointer + at, grad * tl.where(x < 0, -tanh, tanh), mask=mask)


def forward(x: Tensor) -> Tensor:
    """log cosh x, of x's shape and type."""
    x, out = x.contiguous(), x.new_empty(x.shape)
    if x.numel():
        grid = (triton.cdiv(x.numel(), _BLOCK),)
        forward_kernel[grid](x, out, x.numel(), WIDE=_WIDE.get(x.dtype, tl.float32), BLOCK=_BLOCK)
    return out


def backward(x: Tensor, grad: Tensor) -> Tensor:
    """grad tanh x."""
    x, grad, out = x.contiguous(), grad.contiguous(), x.new_empty(x.shape)
    if x.numel():
        grid = (triton.cdiv(x.numel(), _BLOCK),)
        backward_kernel[grid](x, grad, out, x.numel(), WIDE=_WIDE.get(x.dtype, tl.float32), BLOCK=_BLOCK)
    return out
