r"""The operator and its backward in Triton: a kernel each, a tile of examples and dimensions for each program.

eps is drawn in both. Long rows are split over programs, whose partial sums are added afterwards, always in one order.
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

from ..philox.triton import normal_tile, place, tile
from .eager import halves
from .reference import LOGVAR_BOUND, MEAN_BOUND, TERM_BOUND

_MEAN_BOUND = tl.constexpr(MEAN_BOUND)
_LOGVAR_BOUND = tl.constexpr(LOGVAR_BOUND)
_TERM_BOUND = tl.constexpr(TERM_BOUND)

# So many programs keep every card busy; the samples are divided among as many.
PROGRAMS = 2048


@triton.jit
def _bounded(x, BOUND: tl.constexpr):
    """Comparisons let NaN pass, where min and max would hide it."""
    return tl.where(x > BOUND, BOUND, tl.where(x < -BOUND, -BOUND, x))


@triton.jit
def _excess(x, WIDE: tl.constexpr):
    """exp(x) - 1 - x, by its series for |x| < 1/2."""
    series = tl.full(x.shape, 2.48015873015873e-05, WIDE)
    if tl.float64 == WIDE:
        series = tl.full(x.shape, 1.5619206968586225e-16, WIDE)
        series = series * x + 2.811457254345521e-15
        series = series * x + 4.779477332387385e-14
        series = series * x + 7.647163731819816e-13
        series = series * x + 1.1470745597729725e-11
        series = series * x + 1.6059043836821613e-10
        series = series * x + 2.08767569878681e-09
        series = series * x + 2.505210838544172e-08
        series = series * x + 2.755731922398589e-07
        series = series * x + 2.7557319223985893e-06
        series = series * x + 2.48015873015873e-05
    else:
        series = series + x * 2.7557319223985893e-06
    series = series * x + 1.984126984126984e-04
    series = series * x + 1.388888888888889e-03
    series = series * x + 8.333333333333333e-03
    series = series * x + 4.1666666666666664e-02
    series = series * x + 0.16666666666666666
    series = series * x + 0.5
    return tl.where(tl.abs(x) < 0.5, series * x * x, tl.exp(x) - 1.0 - x)


@triton.jit
def _load(pointer, row, stride, column, mask, BOUND: tl.constexpr, WIDE: tl.constexpr):
    at = row[:, None].to(tl.int64) * stride + column[None, :]
    return _bounded(tl.load(pointer + at, mask=mask, other=0.0).to(WIDE), BOUND)


@triton.jit(do_not_specialize=["stream", "samples", "per_program"])
def forward_kernel(
    mean_pointer,
    logvar_pointer,
    prior_mean_pointer,
    prior_logvar_pointer,
    seed_pointer,
    row_offset,
    sample_offset,
    z_pointer,
    kl_pointer,
    weight_pointer,
    mean_stride,
    logvar_stride,
    prior_mean_stride,
    prior_logvar_stride,
    rows,
    columns,
    samples,
    per_program,
    stream,
    HAS_PRIOR: tl.constexpr,
    HAS_ROW: tl.constexpr,
    HAS_SAMPLE: tl.constexpr,
    WEIGHTS: tl.constexpr,
    PER_DIMENSION: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """z, the KL and the log weights of a tile, for some of the samples."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    mask = (row[:, None] < rows) & (column[None, :] < columns)
    mean = _load(mean_pointer, row, mean_stride, column, mask, _MEAN_BOUND, WIDE)
    logvar = _load(logvar_pointer, row, logvar_stride, column, mask, _LOGVAR_BOUND, WIDE)
    sigma = tl.exp(0.5 * logvar)
    prior_mean = tl.zeros((ROWS, COLUMNS), WIDE)
    prior_logvar = tl.zeros((ROWS, COLUMNS), WIDE)
    precision = tl.zeros((ROWS, COLUMNS), WIDE)
    if HAS_PRIOR:
        prior_mean = _load(prior_mean_pointer, row, prior_mean_stride, column, mask, _MEAN_BOUND, WIDE)
        prior_logvar = _load(prior_logvar_pointer, row, prior_logvar_stride, column, mask, _LOGVAR_BOUND, WIDE)
        precision = tl.exp(-prior_logvar)

    if tl.program_id(2) == 0:
        if HAS_PRIOR:
            distance = mean - prior_mean
            quadratic = _bounded(_bounded(distance * precision, _TERM_BOUND) * distance, _TERM_BOUND)
            kl = 0.5 * (_bounded(_excess(logvar - prior_logvar, WIDE), _TERM_BOUND) + quadratic)
        else:
            kl = 0.5 * (mean * mean + _excess(logvar, WIDE))
        if PER_DIMENSION:
            tl.store(kl_pointer + row[:, None].to(tl.int64) * columns + column[None, :], kl, mask=mask)
        else:
            total = tl.sum(tl.where(mask, kl, 0.0), axis=1)
            tl.store(kl_pointer + tl.program_id(1).to(tl.int64) * rows + row, total, mask=row < rows)

    seed = tl.load(seed_pointer)
    noise_row = row + place(row_offset, HAS_ROW)
    first_sample = place(sample_offset, HAS_SAMPLE)
    first = tl.program_id(2) * per_program
    # A counter of the interpreter's loops is a Python number: offsets are made wide by adding to this.
    zero = tl.full((), 0, tl.int64)
    for k in range(first, tl.minimum(first + per_program, samples)):
        quad = tl.program_id(1) * (COLUMNS // 4)
        eps = normal_tile(seed, noise_row, quad, first_sample + k, stream, ROWS, COLUMNS).to(WIDE)
        z = mean + sigma * eps
        at = (row[:, None] + (zero + k) * rows) * columns + column[None, :]
        tl.store(z_pointer + at, z.to(z_pointer.dtype.element_ty), mask=mask)
        if WEIGHTS:
            if HAS_PRIOR:
                distance = z - prior_mean
                log_p = _bounded(_bounded(distance * precision, _TERM_BOUND) * distance, _TERM_BOUND) + prior_logvar
            else:
                log_p = z * z
            weight = tl.sum(tl.where(mask, 0.5 * (eps * eps + logvar - log_p), 0.0), axis=1)
            at_weight = (zero + tl.program_id(1) * samples + k) * rows + row
            tl.store(weight_pointer + at_weight, weight, mask=row < rows)


@triton.jit(do_not_specialize=["stream", "samples"])
def backward_kernel(
    mean_pointer,
    logvar_pointer,
    prior_mean_pointer,
    prior_logvar_pointer,
    seed_pointer,
    row_offset,
    sample_offset,
    grad_z_pointer,
    grad_kl_pointer,
    grad_weight_pointer,
    by_mean_pointer,
    by_logvar_pointer,
    by_prior_mean_pointer,
    by_prior_logvar_pointer,
    mean_stride,
    logvar_stride,
    prior_mean_stride,
    prior_logvar_stride,
    by_stride,
    rows,
    columns,
    samples,
    stream,
    HAS_PRIOR: tl.constexpr,
    HAS_ROW: tl.constexpr,
    HAS_SAMPLE: tl.constexpr,
    HAS_Z: tl.constexpr,
    HAS_KL: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    PER_DIMENSION: tl.constexpr,
    PATH_ONLY: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The gradients of a tile, over all samples."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    mask = (row[:, None] < rows) & (column[None, :] < columns)
    mean = _load(mean_pointer, row, mean_stride, column, mask, _MEAN_BOUND, WIDE)
    logvar = _load(logvar_pointer, row, logvar_stride, column, mask, _LOGVAR_BOUND, WIDE)
    by_mean = tl.zeros((ROWS, COLUMNS), WIDE)
    by_logvar = tl.zeros((ROWS, COLUMNS), WIDE)
    by_prior_mean = tl.zeros((ROWS, COLUMNS), WIDE)
    by_prior_logvar = tl.zeros((ROWS, COLUMNS), WIDE)
    prior_mean = tl.zeros((ROWS, COLUMNS), WIDE)
    prior_logvar = tl.zeros((ROWS, COLUMNS), WIDE)
    precision = tl.zeros((ROWS, COLUMNS), WIDE)
    if HAS_PRIOR:
        prior_mean = _load(prior_mean_pointer, row, prior_mean_stride, column, mask, _MEAN_BOUND, WIDE)
        prior_logvar = _load(prior_logvar_pointer, row, prior_logvar_stride, column, mask, _LOGVAR_BOUND, WIDE)
        precision = tl.exp(-prior_logvar)

    if HAS_Z or HAS_WEIGHT:
        sigma = tl.exp(0.5 * logvar)
        inverse = tl.exp(-0.5 * logvar)
        seed = tl.load(seed_pointer)
        noise_row = row + place(row_offset, HAS_ROW)
        first_sample = place(sample_offset, HAS_SAMPLE)
        zero = tl.full((), 0, tl.int64)
        for k in range(samples):
            quad = tl.program_id(1) * (COLUMNS // 4)
            eps = normal_tile(seed, noise_row, quad, first_sample + k, stream, ROWS, COLUMNS).to(WIDE)
            spread = sigma * eps
            sample_row = row + (zero + k) * rows
            if HAS_Z:
                at = sample_row[:, None] * columns + column[None, :]
                grad = tl.load(grad_z_pointer + at, mask=mask, other=0.0).to(WIDE)
                by_mean += grad
                by_logvar += grad * spread
            if HAS_WEIGHT:
                weight = tl.load(grad_weight_pointer + sample_row, mask=row < rows, other=0.0).to(WIDE)[:, None]
                distance = mean + spread
                slope = distance
                if HAS_PRIOR:
                    distance = distance - prior_mean
                    slope = _bounded(distance * precision, _TERM_BOUND)
                    by_prior_mean += weight * slope
                    by_prior_logvar += weight * (_bounded(slope * distance, _TERM_BOUND) - 1.0)
                if PATH_ONLY:
                    path = weight * (inverse * eps - slope)
                    by_logvar += _bounded(path * spread, _TERM_BOUND)
                else:
                    path = -weight * slope
                    by_logvar += _bounded(path * spread, _TERM_BOUND) + weight
                by_mean += path

    if HAS_KL:
        if PER_DIMENSION:
            at = row[:, None].to(tl.int64) * columns + column[None, :]
            grad = tl.load(grad_kl_pointer + at, mask=mask, other=0.0).to(WIDE)
        else:
            grad = tl.load(grad_kl_pointer + row, mask=row < rows, other=0.0).to(WIDE)[:, None]
        if HAS_PRIOR:
            ratio = logvar - prior_logvar
            distance = mean - prior_mean
            slope = _bounded(distance * precision, _TERM_BOUND)
            growth = _bounded(_excess(ratio, WIDE) + ratio, _TERM_BOUND)
            by_prior_mean -= grad * slope
            by_prior_logvar -= grad * (_bounded(slope * distance, _TERM_BOUND) + growth)
        else:
            slope = mean
            growth = _excess(logvar, WIDE) + logvar
        by_mean += grad * slope
        by_logvar += grad * growth

    at = row[:, None].to(tl.int64) * by_stride + column[None, :]
    out = by_mean_pointer.dtype.element_ty
    tl.store(by_mean_pointer + at, by_mean.to(out), mask=mask)
    tl.store(by_logvar_pointer + at, (0.5 * by_logvar).to(out), mask=mask)
    if HAS_PRIOR:
        at = row[:, None].to(tl.int64) * columns + column[None, :]
        tl.store(by_prior_mean_pointer + at, by_prior_mean.to(out), mask=mask)
        tl.store(by_prior_logvar_pointer + at, (0.5 * by_prior_logvar).to(out), mask=mask)


def _rows_of(x: Tensor | None) -> tuple[Tensor | None, int]:
    """A tensor whose elements of a row lie side by side, and the distance of its rows."""
    if x is None:
        return None, 0
    if x.shape[-1] > 1 and x.stride(-1) != 1:
        x = x.contiguous()
    return x, x.stride(0)


def _wide(dtype: torch.dtype) -> tuple[torch.dtype, tl.dtype]:
    return (torch.float64, tl.float64) if dtype == torch.float64 else (torch.float32, tl.float32)


def forward(
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
) -> tuple[Tensor, Tensor, Tensor]:
    """The operator; `path_only` changes its backward alone."""
    inputs = [_rows_of(x) for x in (*halves(params, logvar), prior_mean, prior_logvar)]
    (mean, _), *_ = inputs
    assert mean is not None
    rows, columns = mean.shape
    count, weights = samples or 1, samples is not None
    accumulator, wide = _wide(params.dtype)
    high, wide_tile = tile(rows, columns)
    splits = triton.cdiv(columns, wide_tile)
    leading = () if samples is None else (samples,)
    z = torch.empty((*leading, rows, columns), dtype=params.dtype, device=params.device)
    kl_shape = (rows, columns) if per_dimension else (splits, rows)
    kl = torch.empty(kl_shape, dtype=accumulator, device=params.device)
    log_weight = torch.empty((splits, samples, rows) if weights else (0,), dtype=accumulator, device=params.device)
    if z.numel():
        tiles = triton.cdiv(rows, high) * splits
        per_program = max(1, min(count, count * tiles // PROGRAMS))
        forward_kernel[(triton.cdiv(rows, high), splits, triton.cdiv(count, per_program))](
            *(x for x, _ in inputs),
            seed,
            row_offset,
            sample_offset,
            z,
            kl,
            log_weight,
            *(stride for _, stride in inputs),
            rows,
            columns,
            count,
            per_program,
            stream,
            HAS_PRIOR=prior_mean is not None,
            HAS_ROW=row_offset is not None,
            HAS_SAMPLE=sample_offset is not None,
            WEIGHTS=weights,
            PER_DIMENSION=per_dimension,
            WIDE=wide,
            ROWS=high,
            COLUMNS=wide_tile,
        )
    largest = torch.finfo(accumulator).max
    # A sum of bounded terms may still leave float32 where they are many, or are divided by a small variance.
    careful = prior_mean is not None or columns > 4096
    if not per_dimension:
        kl = kl[0] if splits == 1 else kl.sum(0)
        kl = kl.clamp_(max=largest) if careful else kl
    if weights:
        log_weight = log_weight[0] if splits == 1 else log_weight.sum(0)
        log_weight.clamp_(-largest, largest)
    return z, kl, log_weight


def backward(
    params: Tensor,
    logvar: Tensor | None,
    prior_mean: Tensor | None,
    prior_logvar: Tensor | None,
    seed: Tensor,
    row_offset: Tensor | None,
    sample_offset: Tensor | None,
    grad_z: Tensor | None,
    grad_kl: Tensor | None,
    grad_weight: Tensor | None,
    stream: int,
    samples: int | None,
    per_dimension: bool,
    path_only: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Its backward."""
    inputs = [_rows_of(x) for x in (*halves(params, logvar), prior_mean, prior_logvar)]
    (mean, _), *_ = inputs
    assert mean is not None
    rows, columns = mean.shape
    by_params = torch.empty(params.shape, dtype=params.dtype, device=params.device)
    by_logvar = params.new_empty(0) if logvar is None else torch.empty_like(by_params)
    by_prior_mean, by_prior_logvar = (
        torch.empty(0 if x is None else (rows, columns), dtype=params.dtype, device=params.device)
        for x in (prior_mean, prior_logvar)
    )
    halved = halves(by_params, None if logvar is None else by_logvar)
    high, wide_tile = tile(rows, columns)
    if mean.numel():
        backward_kernel[(triton.cdiv(rows, high), triton.cdiv(columns, wide_tile))](
            *(x for x, _ in inputs),
            seed,
            row_offset,
            sample_offset,
            *(None if grad is None else grad.contiguous() for grad in (grad_z, grad_kl, grad_weight)),
            *halved,
            by_prior_mean,
            by_prior_logvar,
            *(stride for _, stride in inputs),
            by_params.stride(0),
            rows,
            columns,
            samples or 1,
            stream,
            HAS_PRIOR=prior_mean is not None,
            HAS_ROW=row_offset is not None,
            HAS_SAMPLE=sample_offset is not None,
            HAS_Z=grad_z is not None,
            HAS_KL=grad_kl is not None,
            HAS_WEIGHT=grad_weight is not None,
            PER_DIMENSION=per_dimension,
            PATH_ONLY=path_only,
            WIDE=_wide(params.dtype)[1],
            ROWS=high,
            COLUMNS=wide_tile,
        )
    return by_params, by_logvar, by_prior_mean, by_prior_logvar
