"""What the conformance kit and the benchmark need to know of the operator."""

from __future__ import annotations

import torch
from torch import Tensor

from variata_kernels import Kernel

from . import gaussian_laplace_kl as operator
from .reference import gaussian_laplace_kl


def _case(size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    return tuple(torch.randn(3, size, dtype=dtype, device=device) for _ in range(3))


def _problem(sizes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    return tuple(torch.randn(*sizes, dtype=dtype, device=device) for _ in range(3))


def _formula(mean: Tensor, logvar: Tensor, log_scale: Tensor) -> tuple[Tensor]:
    return (gaussian_laplace_kl(mean, logvar, log_scale),)


ENTRY = Kernel(
    operator=operator,
    package="variata_sparse.gaussian_laplace_kl",
    reference=_formula,
    cases={"normal": _case},
    formula=_formula,
    problems={"4096 x 256": (4096, 256)},
    problem=_problem,
    bytes_moved=lambda sizes, itemsize: (4 * itemsize * sizes[0] * sizes[1], 7 * itemsize * sizes[0] * sizes[1]),
)
