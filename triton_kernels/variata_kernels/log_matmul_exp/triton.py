r"""The operator in Triton: `tl.dot` of scaled exponentials, block by block of k, with a running maximum for each entry.

A block whose scaled sum is too faint, or whose scaled gradient too steep, is computed entry by entry.
"""

# A kernel is written in Triton's language: what stands in it has other types than Python's reader sees, and parameters
# are bound to pointers and constants at its launch.
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false, reportIndexIssue=false
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false, reportOptionalOperand=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..philox.triton import power_of_two
from .eager import FAINT, STEEP

_NEVER = tl.constexpr(float("-inf"))


@triton.jit
def _finite_or_zero(highest):
    return tl.where(highest == _NEVER, 0.0, highest)


@triton.jit
def _load(pointer, row, column, rows, columns, row_stride, column_stride, OTHER: tl.constexpr, WIDE: tl.constexpr):
    at = row[:, None].to(tl.int64) * row_stride + column[None, :].to(tl.int64) * column_stride
    mask = (row[:, None] < rows) & (column[None, :] < columns)
    return tl.load(pointer + at, mask=mask, other=OTHER).to(WIDE)


@triton.jit
def forward_kernel(
    a_pointer,
    b_pointer,
    out_pointer,
    rows,
    columns,
    inner,
    a_batch,
    a_row,
    a_inner,
    b_batch,
    b_inner,
    b_column,
    FAINT_SUM: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
):
    """A tile of the result, over all of k."""
    row_tiles, column_tiles = tl.cdiv(rows, ROWS), tl.cdiv(columns, COLUMNS)
    program = tl.program_id(0)
    batch = (program // (row_tiles * column_tiles)).to(tl.int64)
    row = program // column_tiles % row_tiles * ROWS + tl.arange(0, ROWS)
    column = program % column_tiles * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row[:, None] < rows) & (column[None, :] < columns)
    a_pointer += batch * a_batch
    b_pointer += batch * b_batch
    highest = tl.full((ROWS, COLUMNS), _NEVER, WIDE)
    total = tl.zeros((ROWS, COLUMNS), WIDE)
    for start in range(0, inner, INNER):
        k = start + tl.arange(0, INNER)
        a = _load(a_pointer, row, k, rows, inner, a_row, a_inner, _NEVER, WIDE)
        b = _load(b_pointer, k, column, inner, columns, b_inner, b_column, _NEVER, WIDE)
        highest_a = _finite_or_zero(tl.max(a, axis=1))
        highest_b = _finite_or_zero(tl.max(b, axis=0))
        left = tl.exp(a - highest_a[:, None])
        right = tl.exp(b - highest_b[None, :])
        part = tl.dot(left, right, input_precision=PRECISION, out_dtype=WIDE)
        shift = highest_a[:, None] + highest_b[None, :]
        faint = (part < FAINT_SUM) & inside
        if tl.max(faint.to(tl.int32)) > 0:
            shift = tl.full((ROWS, COLUMNS), _NEVER, WIDE)
            part = tl.zeros((ROWS, COLUMNS), WIDE)
            for i in range(start, tl.minimum(start + INNER, inner)):
                at_a = row.to(tl.int64) * a_row + tl.full((), 0, tl.int64) + i * a_inner
                at_b = column.to(tl.int64) * b_column + tl.full((), 0, tl.int64) + i * b_inner
                one_a = tl.load(a_pointer + at_a, mask=row < rows, other=_NEVER).to(WIDE)
                one_b = tl.load(b_pointer + at_b, mask=column < columns, other=_NEVER).to(WIDE)
                term = one_a[:, None] + one_b[None, :]
                top = tl.maximum(shift, term)
                base = _finite_or_zero(top)
                part = part * tl.exp(shift - base) + tl.exp(term - base)
                shift = top
        shift = tl.where(part > 0.0, shift, _NEVER)
        top = tl.maximum(highest, shift)
        base = _finite_or_zero(top)
        total = total * tl.exp(highest - base) + part * tl.exp(shift - base)
        highest = top
    out = tl.where(total > 0.0, tl.log(tl.where(total > 0.0, total, 1.0)) + highest, _NEVER)
    at = (batch * rows + row[:, None]) * columns + column[None, :]
    tl.store(out_pointer + at, out, mask=inside)


@triton.jit
def backward_kernel(
    a_pointer,
    b_pointer,
    out_pointer,
    grad_pointer,
    by_a_pointer,
    rows,
    columns,
    inner,
    a_batch,
    a_row,
    a_inner,
    b_batch,
    b_inner,
    b_column,
    out_row,
    out_column,
    by_row,
    by_inner,
    STEEP_RISE: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
):
    """A tile of the gradient of a, over all columns."""
    row_tiles, inner_tiles = tl.cdiv(rows, ROWS), tl.cdiv(inner, INNER)
    program = tl.program_id(0)
    batch = (program // (row_tiles * inner_tiles)).to(tl.int64)
    row = program // inner_tiles % row_tiles * ROWS + tl.arange(0, ROWS)
    k = program % inner_tiles * INNER + tl.arange(0, INNER)
    a_pointer += batch * a_batch
    b_pointer += batch * b_batch
    out_pointer += batch * rows * columns
    grad_pointer += batch * rows * columns
    a = _load(a_pointer, row, k, rows, inner, a_row, a_inner, _NEVER, WIDE)
    highest_a = _finite_or_zero(tl.max(a, axis=1))
    scaled = tl.zeros((ROWS, INNER), WIDE)
    exact = tl.zeros((ROWS, INNER), WIDE)
    for start in range(0, columns, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        b = _load(b_pointer, k, column, inner, columns, b_inner, b_column, _NEVER, WIDE)
        out = _load(out_pointer, row, column, rows, columns, out_row, out_column, _NEVER, WIDE)
        grad = _load(grad_pointer, row, column, rows, columns, out_row, out_column, 0.0, WIDE)
        highest_b = _finite_or_zero(tl.max(b, axis=0))
        possible = out > _NEVER
        rise = tl.where(possible, highest_a[:, None] + highest_b[None, :] - out, _NEVER)
        if tl.max(rise) > STEEP_RISE:
            for i in range(start, tl.minimum(start + COLUMNS, columns)):
                zero = tl.full((), 0, tl.int64)
                at_b = k.to(tl.int64) * b_inner + (zero + i) * b_column
                at_out = row.to(tl.int64) * out_row + (zero + i) * out_column
                one_b = tl.load(b_pointer + at_b, mask=k < inner, other=_NEVER).to(WIDE)
                one_out = tl.load(out_pointer + at_out, mask=row < rows, other=_NEVER).to(WIDE)
                one_grad = tl.load(grad_pointer + at_out, mask=row < rows, other=0.0).to(WIDE)
                known = one_out > _NEVER
                share = tl.exp(a + one_b[None, :] - tl.where(known, one_out, 0.0)[:, None])
                exact += tl.where(known[:, None], one_grad[:, None] * share, 0.0)
        else:
            weight = grad * tl.exp(rise)
            right = tl.trans(tl.exp(b - highest_b[None, :]))
            scaled += tl.dot(weight, right, input_precision=PRECISION, out_dtype=WIDE)
    by_a = tl.exp(a - highest_a[:, None]) * scaled + exact
    at = batch * rows * inner + row[:, None].to(tl.int64) * by_row + k[None, :].to(tl.int64) * by_inner
    mask = (row[:, None] < rows) & (k[None, :] < inner)
    tl.store(by_a_pointer + at, by_a.to(by_a_pointer.dtype.element_ty), mask=mask)


def _settings(x: Tensor) -> dict[str, object]:
    wide = torch.promote_types(x.dtype, torch.float32)
    # Three products in TensorFloat-32 carry float32's digits at several times the speed; NVIDIA's cards have them.
    threefold = wide == torch.float32 and x.device.type == "cuda" and torch.version.hip is None
    return {
        "PRECISION": "tf32x3" if threefold else "ieee",
        "WIDE": tl.float64 if wide == torch.float64 else tl.float32,
    }


def _block(size: int, most: int) -> int:
    return max(16, min(most, power_of_two(size)))


def forward(a: Tensor, b: Tensor) -> Tensor:
    """`[batch, m, k]` and `[batch, k, n]` give `[batch, m, n]`."""
    (batch, rows, inner), columns = a.shape, b.shape[-1]
    wide = torch.promote_types(a.dtype, torch.float32)
    out = torch.empty((batch, rows, columns), dtype=wide, device=a.device)
    if out.numel():
        high = _block(rows, 64)
        across = _block(columns, 64 if high > 16 else 32)  # a flat and wide tile spills registers on sm_90
        forward_kernel[(batch * triton.cdiv(rows, high) * triton.cdiv(columns, across),)](
            a,
            b,
            out,
            rows,
            columns,
            inner,
            *a.stride(),
            *b.stride(),
            FAINT_SUM=FAINT[wide],
            ROWS=high,
            COLUMNS=across,
            INNER=_block(inner, 32),
            **_settings(a),
        )
    return out


def _backward_of_left(a: Tensor, b: Tensor, out: Tensor, grad: Tensor, by_a: Tensor) -> None:
    (batch, rows, inner), columns = a.shape, b.shape[-1]
    wide = torch.promote_types(a.dtype, torch.float32)
    high, deep = _block(rows, 32), _block(inner, 64)
    backward_kernel[(batch * triton.cdiv(rows, high) * triton.cdiv(inner, deep),)](
        a,
        b,
        out,
        grad,
        by_a,
        rows,
        columns,
        inner,
        *a.stride(),
        *b.stride(),
        *out.stride()[1:],
        *by_a.stride()[1:],
        STEEP_RISE=STEEP[wide],
        ROWS=high,
        COLUMNS=32,
        INNER=deep,
        **_settings(a),
    )


def backward(a: Tensor, b: Tensor, out: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of a and b; that of b is that of a in the transposed problem."""
    by_a = torch.empty(a.shape, dtype=a.dtype, device=a.device)
    by_b = torch.empty(b.shape, dtype=b.dtype, device=b.device)
    if out.numel() == 0 or a.shape[-1] == 0:
        return by_a.zero_(), by_b.zero_()
    out, grad = out.contiguous(), grad.contiguous()
    _backward_of_left(a, b, out, grad, by_a)
    _backward_of_left(b.mT, a.mT, out.mT, grad.mT, by_b.mT)
    return by_a, by_b
