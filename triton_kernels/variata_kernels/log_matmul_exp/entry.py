"""What the tests and the benchmark need to know of `log_matmul_exp`."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..registry import Arguments, Kernel
from . import log_matmul_exp_operator
from .reference import log_matmul_exp


def _case(size: int, dtype: torch.dtype, device: torch.device, *, axis: int = 0, far: bool = False) -> Arguments:
    """`size` along rows, columns or the sum; far: rows and columns have their maxima at different places."""
    sizes = [5, 6, 7]
    sizes[axis] = size
    rows, columns, inner = sizes
    number = partial(torch.randn, dtype=dtype, device=device)
    a, b = number(2, rows, inner), number(2, inner, columns)
    if far:
        slope = torch.linspace(-100, 100, inner, dtype=dtype, device=device)
        a, b = a + slope, b - slope[:, None]
    return a, b


def _problem(sizes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Arguments:
    batch, rows, inner, columns = sizes
    number = partial(torch.randn, dtype=dtype, device=device)
    return number(batch, rows, inner), number(batch, inner, columns).log_softmax(1)


def _formula(a: Tensor, b: Tensor) -> tuple[Tensor]:
    """With the maxima of rows and columns alone: what is usually written, and underflows where they lie apart."""
    highest_a, highest_b = a.amax(-1, keepdim=True), b.amax(-2, keepdim=True)
    return (((a - highest_a).exp() @ (b - highest_b).exp()).log() + highest_a + highest_b,)


def _bytes_moved(sizes: tuple[int, ...], itemsize: int) -> tuple[int, int]:
    batch, rows, inner, columns = sizes
    inputs, out = batch * inner * (rows + columns) * itemsize, 4 * batch * rows * columns
    return inputs + out, 2 * inputs + 2 * out


ENTRY = Kernel(
    operator=log_matmul_exp_operator,
    package="variata_kernels.log_matmul_exp",
    reference=lambda a, b: (log_matmul_exp(a, b),),
    cases={
        "rows": _case,
        "columns": partial(_case, axis=1),
        "sum": partial(_case, axis=2),
        "maxima apart": partial(_case, axis=2, far=True),
    },
    formula=_formula,
    problems={"64 x 256 x 32 x 32": (64, 256, 32, 32), "1 x 4096 x 512 x 512": (1, 4096, 512, 512)},
    problem=_problem,
    bytes_moved=_bytes_moved,
)
