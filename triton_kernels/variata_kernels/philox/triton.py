r"""Philox4x32-10 in Triton: one call yields four words, and four columns are made of it."""

# A kernel is written in Triton's language: what stands in it has other types than Python's reader sees, and parameters
# are bound to pointers and constants at its launch.
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false, reportIndexIssue=false
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false, reportOptionalOperand=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backend import interpreted


@triton.jit
def _radius(word):
    uniform = (word.to(tl.float32) + 0.5) * 2.3283064365386963e-10
    return tl.sqrt(-2.0 * tl.log(uniform))


@triton.jit
def _cos_sin(word):
    """Of 2 pi word / 2^32. The quarter turn is split off in integers, so that a short polynomial (Cephes' for float32)
    is enough: no slow path for large arguments, and the same result on every device."""
    shifted = word + 0x20000000
    quarter = shifted >> 30
    rest = (shifted & 0x3FFFFFFF).to(tl.int32) - 0x20000000
    x = rest.to(tl.float32) * 1.4629180792671596e-09
    y = x * x
    sine = x + x * y * (-1.6666654611e-1 + y * (8.3321608736e-3 + y * -1.9515295891e-4))
    cosine = 1.0 - 0.5 * y + y * y * (4.166664568298827e-2 + y * (-1.388731625493765e-3 + y * 2.443315711809948e-5))
    swap = (quarter & 1) == 1
    c = tl.where(swap, sine, cosine)
    s = tl.where(swap, cosine, sine)
    c = tl.where((quarter == 1) | (quarter == 2), -c, c)
    s = tl.where(quarter >= 2, -s, s)
    return c, s


@triton.jit
def normal_tile(seed, rows, first_quad, sample, stream, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """eps `[ROWS, COLUMNS]` in float32, at the given rows `[ROWS]` and from column 4 first_quad on."""
    quads = (first_quad + tl.arange(0, COLUMNS // 4)).to(tl.uint32)
    zero = tl.zeros((ROWS, COLUMNS // 4), dtype=tl.uint32)
    c0 = zero + quads[None, :]
    c1 = zero + rows.to(tl.uint32)[:, None]
    c2 = zero + sample.to(tl.uint32)
    c3 = zero + stream.to(tl.uint32)
    w0, w1, w2, w3 = tl.philox(seed, c0, c1, c2, c3)
    cos_01, sin_01 = _cos_sin(w1)
    cos_23, sin_23 = _cos_sin(w3)
    radius_01 = _radius(w0)
    radius_23 = _radius(w2)
    even = tl.join(radius_01 * cos_01, radius_23 * cos_23)
    odd = tl.join(radius_01 * sin_01, radius_23 * sin_23)
    return tl.reshape(tl.join(even, odd), (ROWS, COLUMNS))


@triton.jit
def place(pointer, PRESENT: tl.constexpr):
    """The offset behind a pointer, zero without one."""
    offset = tl.full((), 0, dtype=tl.int64)
    if PRESENT:
        offset = tl.load(pointer)
    return offset


@triton.jit(do_not_specialize=["stream"])
def noise_kernel(
    out,
    seed_pointer,
    row_offset,
    sample_offset,
    rows,
    columns,
    stream,
    HAS_ROW: tl.constexpr,
    HAS_SAMPLE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Stores the noise of a tile of one sample."""
    # Samples are many where rows are few, and only the first axis of a grid goes beyond 65535.
    tiles = tl.cdiv(rows, ROWS)
    k = tl.program_id(0) // tiles
    row = tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    eps = normal_tile(
        tl.load(seed_pointer),
        row + place(row_offset, HAS_ROW),
        tl.program_id(1) * (COLUMNS // 4),
        k + place(sample_offset, HAS_SAMPLE),
        stream,
        ROWS,
        COLUMNS,
    )
    at = (k.to(tl.int64) * rows + row[:, None]) * columns + column[None, :]
    tl.store(out + at, eps, mask=(row[:, None] < rows) & (column[None, :] < columns))


def power_of_two(size: int) -> int:
    """The first that is not below `size`."""
    return 1 << max(size - 1, 0).bit_length()


def tile(rows: int, columns: int, elements: int = 1024) -> tuple[int, int]:
    """Rows and columns of a program's tile: whole rows where they are short, powers of two. The interpreter's cost is
    by program, so there a tile is large."""
    elements = 1 << 16 if interpreted() else elements
    wide = min(max(power_of_two(columns), 16), elements // 2)
    high = min(power_of_two(rows), elements // wide)
    return high, wide


def noise(
    seed: Tensor,
    samples: int,
    rows: int,
    columns: int,
    row_offset: Tensor | None = None,
    sample_offset: Tensor | None = None,
    stream: int = 0,
) -> Tensor:
    """eps `[samples, rows, columns]` in float32; the arguments are those of `variata_kernels.noise`."""
    out = torch.empty((samples, rows, columns), dtype=torch.float32, device=seed.device)
    if out.numel():
        high, wide = tile(rows, columns)
        noise_kernel[(triton.cdiv(rows, high) * samples, triton.cdiv(columns, wide))](
            out,
            seed,
            row_offset,
            sample_offset,
            rows,
            columns,
            stream,
            HAS_ROW=row_offset is not None,
            HAS_SAMPLE=sample_offset is not None,
            ROWS=high,
            COLUMNS=wide,
        )
    return out
