"""The operator in Triton: each element is read once and written once, in either direction."""

# Triton's language is no Python that a type checker knows.
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false, reportIndexIssue=false

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024
_ROOT_HALF = tl.constexpr(math.sqrt(0.5))
_ROOT_TWO_PI = tl.constexpr(math.sqrt(2 * math.pi))
_CONSTANT = tl.constexpr(math.log(2) - 0.5 * math.log(2 * math.pi) - 0.5)


@triton.jit
def _read(pointer, at, mask, WIDE: tl.constexpr):
    return tl.load(pointer + at, mask=mask, other=0.0).to(WIDE)


@triton.jit
def forward_kernel(mean, logvar, log_scale, out, size, WIDE: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < size
    m, v, b = _read(mean, at, mask, WIDE), _read(logvar, at, mask, WIDE), _read(log_scale, at, mask, WIDE)
    s = tl.exp(0.5 * v)
    r = m / s * _ROOT_HALF
    size_of_z = 2 * s * tl.exp(-r * r) / _ROOT_TWO_PI + m * tl.erf(r)
    tl.store(out + at, b + _CONSTANT + size_of_z * tl.exp(-b) - 0.5 * v, mask=mask)


@triton.jit
def backward_kernel(
    mean, logvar, log_scale, grad, d_mean, d_logvar, d_log_scale, size, WIDE: tl.constexpr, BLOCK: tl.constexpr
):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < size
    m, v, b = _read(mean, at, mask, WIDE), _read(logvar, at, mask, WIDE), _read(log_scale, at, mask, WIDE)
    g = _read(grad, at, mask, WIDE)
    s, over = tl.exp(0.5 * v), tl.exp(-b)
    r = m / s * _ROOT_HALF
    sign, slope = tl.erf(r), s * tl.exp(-r * r) / _ROOT_TWO_PI
    tl.store(d_mean + at, g * sign * over, mask=mask)
    tl.store(d_logvar + at, g * (slope * over - 0.5), mask=mask)
    tl.store(d_log_scale + at, g * (1 - (2 * slope + m * sign) * over), mask=mask)


def forward(*inputs: Tensor) -> Tensor:
    """The divergence, of the inputs' shape and type."""
    (out,) = _launch(forward_kernel, inputs, 1)
    return out


def backward(*inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Its derivatives."""
    d_mean, d_logvar, d_log_scale = _launch(backward_kernel, inputs, 3)
    return d_mean, d_logvar, d_log_scale


def _launch(kernel, inputs: tuple[Tensor, ...], outputs: int) -> list[Tensor]:
    x = inputs[0]
    out = [x.new_empty(x.shape) for _ in range(outputs)]
    if x.numel():
        wide = tl.float64 if x.dtype == torch.float64 else tl.float32
        grid = (triton.cdiv(x.numel(), _BLOCK),)
        kernel[grid](*(value.contiguous() for value in inputs), *out, x.numel(), WIDE=wide, BLOCK=_BLOCK)
    return out
