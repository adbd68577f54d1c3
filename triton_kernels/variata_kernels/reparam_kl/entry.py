"""What the tests and the benchmark need to know of `reparam_kl`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..philox.eager import noise
from ..registry import Arguments, Kernel
from . import reference, reparam_kl_operator
from .eager import halves


def _reference(
    params: Tensor,
    logvar: Tensor | None,
    prior_mean: Tensor | None,
    prior_logvar: Tensor | None,
    seed: Tensor,
    row_offset: Tensor | None,
    sample_offset: Tensor | None,
    stream: int,
    samples: int | None,
    per_dimension: bool,
    path_only: bool,
) -> tuple[Tensor, ...]:
    mean, log_variance = halves(params, logvar)
    rows, columns = mean.shape
    eps = noise(seed, samples or 1, rows, columns, row_offset, sample_offset, stream)
    if samples is None:
        eps = eps[0]
    z, kl, log_weight = reference.reparam_kl(
        mean, log_variance, prior_mean, prior_logvar, eps, per_dimension=per_dimension, path_only=path_only
    )
    return z, kl, log_weight if samples is not None else log_weight.new_empty(0)


def _case(
    size: int,
    dtype: torch.dtype,
    device: torch.device,
    *,
    wide: bool = False,
    packed: bool = True,
    prior: bool = False,
    samples: int | None = None,
    placed: bool = False,
    per_dimension: bool = False,
    path_only: bool = False,
) -> Arguments:
    rows, columns = (3, size) if wide else (size, 7)
    number = partial(torch.randn, dtype=dtype, device=device)
    q = (number(rows, 2 * columns), None) if packed else (number(rows, columns), number(rows, columns))
    p = (number(rows, columns), number(rows, columns)) if prior else (None, None)
    integer = partial(torch.tensor, dtype=torch.int64, device=device)
    place = (integer(11), integer(2), 5) if placed else (None, None, 0)
    return (*q, *p, integer(20261122), *place, samples, per_dimension, path_only)


CASES: dict[str, dict[str, Any]] = {
    "packed": {},
    "pair": {"packed": False},
    "wide": {"wide": True},
    "wide pair, prior": {"wide": True, "packed": False, "prior": True},
    "prior": {"prior": True},
    "per dimension": {"per_dimension": True},
    "prior, per dimension": {"prior": True, "per_dimension": True},
    "one sample": {"samples": 1},
    "samples": {"samples": 3, "placed": True},
    "wide samples": {"wide": True, "samples": 3},
    "path only": {"samples": 2, "path_only": True},
    "samples, prior": {"samples": 2, "prior": True, "packed": False},
    "path only, prior": {"samples": 2, "prior": True, "path_only": True},
}


def _formula(
    params: Tensor, logvar: Tensor | None, prior_mean: None, prior_logvar: None, seed: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    mean, log_variance = params.chunk(2, dim=-1)
    samples = rest[3]
    shape = mean.shape if samples is None else (samples, *mean.shape)
    eps = torch.randn(shape, dtype=mean.dtype, device=mean.device)
    z = mean + (0.5 * log_variance).exp() * eps
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)
    if samples is None:
        return z, kl
    return z, kl, 0.5 * (eps.square() + log_variance - z.square()).sum(-1)


def _problem(sizes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Arguments:
    rows, columns, samples = sizes
    params = torch.randn((rows, 2 * columns), dtype=dtype, device=device)
    seed = torch.tensor(20261122, device=device)
    return (params, None, None, None, seed, None, None, 0, samples or None, False, False)


def _bytes_moved(sizes: tuple[int, ...], itemsize: int) -> tuple[int, int]:
    rows, columns, samples = sizes
    number, draws = rows * columns * itemsize, max(samples, 1)
    sums = 4 * rows * (1 + samples)
    return (2 + draws) * number + sums, (2 + draws + 2) * number + sums


ENTRY = Kernel(
    operator=reparam_kl_operator,
    package="variata_kernels.reparam_kl",
    reference=_reference,
    cases={name: partial(_case, **options) for name, options in CASES.items()},
    formula=_formula,
    problems={
        "128 x 16": (128, 16, 0),
        "128 x 64": (128, 64, 0),
        "1024 x 128": (1024, 128, 0),
        "16384 x 64": (16384, 64, 0),
        "65536 x 256": (65536, 256, 0),
        "262144 x 256": (262144, 256, 0),
        "50 x 4096 x 64": (4096, 64, 50),
    },
    problem=_problem,
    bytes_moved=_bytes_moved,
)
