"""What the conformance kit and the benchmark need to know of `log_cosh`."""

from __future__ import annotations

import torch
from torch import Tensor

from variata_kernels import Kernel

from . import log_cosh as operator
from .reference import log_cosh


def _case(size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor]:
    return (3 * torch.randn(5, size, dtype=dtype, device=device),)


def _problem(sizes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor]:
    return (torch.randn(*sizes, dtype=dtype, device=device),)


def _bytes_moved(sizes: tuple[int, ...], itemsize: int) -> tuple[int, int]:
    """Forward reads x and writes the result; backward reads x and the gradient and writes one."""
    size = itemsize * sizes[0] * sizes[1]
    return 2 * size, 3 * size


ENTRY = Kernel(
    operator=operator,
    package="variata_my_part.log_cosh",
    reference=lambda x: (log_cosh(x),),
    cases={"normal": _case},
    formula=lambda x: (log_cosh(x),),
    problems={"4096 x 1024": (4096, 1024)},
    problem=_problem,
    bytes_moved=_bytes_moved,
)
