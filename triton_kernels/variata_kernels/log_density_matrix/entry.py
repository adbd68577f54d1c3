"""What the tests and the benchmark need to know of `log_density_matrix`."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from ..registry import Arguments, Kernel
from . import log_density_matrix_operator
from .reference import log_density_matrix


def _case(size: int, dtype: torch.dtype, device: torch.device, *, axis: int = 0) -> Arguments:
    """`size` points, laws or dimensions."""
    sizes = [4, 5, 6]
    sizes[axis] = size
    points, laws, latent = sizes
    number = partial(torch.randn, dtype=dtype, device=device)
    return number(points, latent), number(laws, latent), number(laws, latent)


def _problem(sizes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Arguments:
    batch, latent = sizes
    mean, logvar, eps = torch.randn((3, batch, latent), dtype=dtype, device=device).unbind(0)
    return mean + (0.5 * logvar).exp() * eps, mean, logvar


def _formula(z: Tensor, mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    t = -0.5 * ((z[:, None] - mean).square() * (-logvar).exp() + logvar + math.log(2 * math.pi))
    return t.sum(-1).logsumexp(1), t.logsumexp(1)


def _bytes_moved(sizes: tuple[int, ...], itemsize: int) -> tuple[int, int]:
    batch, latent = sizes
    inputs, out = 3 * batch * latent * itemsize, 4 * batch * (latent + 1)
    return inputs + out, 2 * inputs + 2 * out


ENTRY = Kernel(
    operator=log_density_matrix_operator,
    package="variata_kernels.log_density_matrix",
    reference=log_density_matrix,
    cases={"points": _case, "laws": partial(_case, axis=1), "latent": partial(_case, axis=2)},
    formula=_formula,
    problems={"128 x 16": (128, 16), "512 x 64": (512, 64), "4096 x 128": (4096, 128)},
    problem=_problem,
    bytes_moved=_bytes_moved,
    # exp of a sum over a thousand dimensions, itself of the order of a thousand.
    tolerance=3e-4,
)
