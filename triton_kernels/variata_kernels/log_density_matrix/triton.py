r"""The operator in Triton. Nothing of the size points x laws x latent exists; of the size points x laws, a part of it.

Forward: one kernel for the joint density, a tile of points against a tile of laws, over all dimensions; one for the
marginal densities, a tile of points and dimensions over all laws. Both keep a running maximum.

Backward: for some points at a time, the shares of the laws in the joint density, `[points, laws]`; from these a kernel
for the gradient of z, and one that adds to those of the laws.
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

from ..backend import interpreted
from ..philox.triton import power_of_two
from .eager import wide
from .reference import LOG_2PI, LOGVAR_BOUND, MEAN_BOUND

_NEVER = tl.constexpr(float("-inf"))

# Elements of the shares of laws that exist at once: 8 MiB in float32, and as much for their transpose.
SHARES = 1 << 21
# So many programs keep every card busy; the laws are divided among as many.
PROGRAMS = 1024


@triton.jit
def _squares(z_pointer, mean_pointer, precision_pointer, point, law, points, laws, latent, POINTS, LAWS):
    """sum_d (z_id - mu_jd)^2 / sigma_jd^2 over transposed inputs `[latent, points]` and `[latent, laws]`."""
    total = tl.zeros((POINTS, LAWS), z_pointer.dtype.element_ty)
    for _ in range(latent):
        z = tl.load(z_pointer + point, mask=point < points, other=0.0)
        mean = tl.load(mean_pointer + law, mask=law < laws, other=0.0)
        precision = tl.load(precision_pointer + law, mask=law < laws, other=0.0)
        distance = z[:, None] - mean[None, :]
        total += distance * distance * precision[None, :]
        z_pointer += points
        mean_pointer += laws
        precision_pointer += laws
    return total


@triton.jit
def joint_kernel(
    z_pointer,
    mean_pointer,
    precision_pointer,
    constant_pointer,
    out_pointer,
    points,
    laws,
    latent,
    per_program,
    POINTS: tl.constexpr,
    LAWS: tl.constexpr,
):
    """log sum_j exp sum_d t_ijd of a tile of points, over some of the laws."""
    point = tl.program_id(0) * POINTS + tl.arange(0, POINTS)
    highest = tl.full((POINTS,), _NEVER, z_pointer.dtype.element_ty)
    total = tl.zeros((POINTS,), z_pointer.dtype.element_ty)
    first = tl.program_id(1) * per_program
    for start in range(first, tl.minimum(first + per_program, laws), LAWS):
        law = start + tl.arange(0, LAWS)
        squares = _squares(z_pointer, mean_pointer, precision_pointer, point, law, points, laws, latent, POINTS, LAWS)
        constant = tl.load(constant_pointer + law, mask=law < laws, other=0.0)
        t = tl.where((law < laws)[None, :], -0.5 * (squares + constant[None, :]), _NEVER)
        top = tl.maximum(highest, tl.max(t, axis=1))
        total = total * tl.exp(highest - top) + tl.sum(tl.exp(t - top[:, None]), axis=1)
        highest = top
    tl.store(out_pointer + tl.program_id(1) * points + point, highest + tl.log(total), mask=point < points)


@triton.jit
def shares_kernel(
    z_pointer,
    mean_pointer,
    precision_pointer,
    constant_pointer,
    joint_pointer,
    grad_pointer,
    share_pointer,
    first_point,
    some,
    points,
    laws,
    latent,
    POINTS: tl.constexpr,
    LAWS: tl.constexpr,
):
    """grad_i exp(sum_d t_ijd - joint_i), for `some` points from the first."""
    at = tl.program_id(0) * POINTS + tl.arange(0, POINTS)
    point = first_point + at
    law = tl.program_id(1) * LAWS + tl.arange(0, LAWS)
    squares = _squares(z_pointer, mean_pointer, precision_pointer, point, law, points, laws, latent, POINTS, LAWS)
    constant = tl.load(constant_pointer + law, mask=law < laws, other=0.0)
    mask = at < some
    joint = tl.load(joint_pointer + point, mask=mask, other=0.0)
    grad = tl.load(grad_pointer + point, mask=mask, other=0.0)
    inside = mask[:, None] & (law < laws)[None, :]
    t = tl.where(inside, -0.5 * (squares + constant[None, :]) - joint[:, None], _NEVER)
    share = grad[:, None] * tl.exp(t)
    tl.store(share_pointer + at[:, None].to(tl.int64) * laws + law[None, :], share, mask=inside)


@triton.jit
def marginal_kernel(
    z_pointer,
    mean_pointer,
    logvar_pointer,
    out_pointer,
    points,
    laws,
    latent,
    LOG_2PI: tl.constexpr,
    POINTS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """log sum_j exp t_ijd of a tile of points and dimensions, over all laws."""
    point = tl.program_id(0) * POINTS + tl.arange(0, POINTS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    within = column < latent
    mask = (point < points)[:, None] & within[None, :]
    at = point[:, None].to(tl.int64) * latent + column[None, :]
    z = tl.load(z_pointer + at, mask=mask, other=0.0)
    highest = tl.full((POINTS, COLUMNS), _NEVER, z.dtype)
    total = tl.zeros((POINTS, COLUMNS), z.dtype)
    for _ in range(laws):
        mean = tl.load(mean_pointer + column, mask=within, other=0.0)
        logvar = tl.load(logvar_pointer + column, mask=within, other=0.0)
        distance = z - mean[None, :]
        t = -0.5 * (distance * distance * tl.exp(-logvar)[None, :] + (logvar + LOG_2PI)[None, :])
        # One exponential, of whichever is the smaller to the larger.
        smaller = tl.exp(-tl.abs(t - highest))
        total = tl.where(t > highest, total * smaller + 1.0, total + smaller)
        highest = tl.maximum(highest, t)
        mean_pointer += latent
        logvar_pointer += latent
    tl.store(out_pointer + at, highest + tl.log(total), mask=mask)


@triton.jit
def points_kernel(
    z_pointer,
    mean_pointer,
    logvar_pointer,
    marginal_pointer,
    grad_marginal_pointer,
    share_pointer,
    by_z_pointer,
    first_point,
    some,
    laws,
    latent,
    HAS_JOINT: tl.constexpr,
    HAS_MARGINAL: tl.constexpr,
    LOG_2PI: tl.constexpr,
    POINTS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The gradient of z for `some` points; the shares are `[laws, some]`."""
    which = tl.program_id(0) * POINTS + tl.arange(0, POINTS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    within = column < latent
    mask = (which < some)[:, None] & within[None, :]
    at = (first_point + which)[:, None].to(tl.int64) * latent + column[None, :]
    z = tl.load(z_pointer + at, mask=mask, other=0.0)
    marginal = tl.zeros((POINTS, COLUMNS), z.dtype)
    grad = tl.zeros((POINTS, COLUMNS), z.dtype)
    if HAS_MARGINAL:
        marginal = tl.load(marginal_pointer + at, mask=mask, other=0.0)
        grad = tl.load(grad_marginal_pointer + at, mask=mask, other=0.0)
    by_z = tl.zeros((POINTS, COLUMNS), z.dtype)
    for _ in range(laws):
        mean = tl.load(mean_pointer + column, mask=within, other=0.0)
        logvar = tl.load(logvar_pointer + column, mask=within, other=0.0)
        distance = z - mean[None, :]
        slope = distance * tl.exp(-logvar)[None, :]
        share = tl.zeros((POINTS, COLUMNS), z.dtype)
        if HAS_JOINT:
            share += tl.load(share_pointer + which, mask=which < some, other=0.0)[:, None]
            share_pointer += some
        if HAS_MARGINAL:
            t = -0.5 * (distance * slope + (logvar + LOG_2PI)[None, :]) - marginal
            share += grad * tl.exp(tl.where(mask, t, _NEVER))
        by_z -= share * slope
        mean_pointer += latent
        logvar_pointer += latent
    tl.store(by_z_pointer + at, by_z, mask=mask)


@triton.jit
def laws_kernel(
    z_pointer,
    mean_pointer,
    logvar_pointer,
    marginal_pointer,
    grad_marginal_pointer,
    share_pointer,
    by_mean_pointer,
    by_logvar_pointer,
    some,
    laws,
    latent,
    HAS_JOINT: tl.constexpr,
    HAS_MARGINAL: tl.constexpr,
    LOG_2PI: tl.constexpr,
    LAWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """What `some` points add to the gradients of mean and logvar; the shares are `[some, laws]`."""
    law = tl.program_id(0) * LAWS + tl.arange(0, LAWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    within = column < latent
    mask = (law < laws)[:, None] & within[None, :]
    at = law[:, None].to(tl.int64) * latent + column[None, :]
    mean = tl.load(mean_pointer + at, mask=mask, other=0.0)
    logvar = tl.load(logvar_pointer + at, mask=mask, other=0.0)
    precision = tl.exp(-logvar)
    by_mean = tl.load(by_mean_pointer + at, mask=mask, other=0.0)
    by_logvar = tl.load(by_logvar_pointer + at, mask=mask, other=0.0)
    for _ in range(some):
        z = tl.load(z_pointer + column, mask=within, other=0.0)
        distance = z[None, :] - mean
        slope = distance * precision
        quadratic = distance * slope
        share = tl.zeros((LAWS, COLUMNS), mean.dtype)
        if HAS_JOINT:
            share += tl.load(share_pointer + law, mask=law < laws, other=0.0)[:, None]
            share_pointer += laws
        if HAS_MARGINAL:
            marginal = tl.load(marginal_pointer + column, mask=within, other=0.0)
            grad = tl.load(grad_marginal_pointer + column, mask=within, other=0.0)
            t = -0.5 * (quadratic + logvar + LOG_2PI) - marginal[None, :]
            share += grad[None, :] * tl.exp(tl.where(mask, t, _NEVER))
            marginal_pointer += latent
            grad_marginal_pointer += latent
        by_mean += share * slope
        by_logvar += share * (quadratic - 1.0) * 0.5
        z_pointer += latent
    tl.store(by_mean_pointer + at, by_mean, mask=mask)
    tl.store(by_logvar_pointer + at, by_logvar, mask=mask)


def _pair_tile(points: int, laws: int) -> dict[str, int]:
    """The interpreter's cost is by program, so there a tile is large."""
    most = 1024 if interpreted() else 32
    high, across = (max(16, min(most, power_of_two(size))) for size in (points, laws))
    return {"POINTS": high, "LAWS": across}


def _column_tile(rows: int, latent: int) -> tuple[int, int]:
    most, elements = (1 << 12, 1 << 16) if interpreted() else (32, 1024)
    across = max(16, min(most, power_of_two(latent)))
    return max(1, min(elements // across, power_of_two(rows))), across


def _transposed(z: Tensor, mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z, mean and precision with the points and laws side by side, and each law's logvar + log 2 pi, summed."""
    constant = (logvar + LOG_2PI).sum(1)
    return z.t().contiguous(), mean.t().contiguous(), logvar.neg().exp_().t().contiguous(), constant


def _inputs(z: Tensor, mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    bounds = (MEAN_BOUND, MEAN_BOUND, LOGVAR_BOUND)
    first, second, third = (wide(x, bound).contiguous() for x, bound in zip((z, mean, logvar), bounds, strict=True))
    return first, second, third


def forward(z: Tensor, mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """joint `[points]` and marginal `[points, latent]`."""
    z, mean, logvar = _inputs(z, mean, logvar)
    (points, latent), laws = z.shape, len(mean)
    marginal = torch.empty_like(z)
    if not points or not laws or not latent:
        return torch.logsumexp(z.new_zeros((points, laws)), 1), marginal.fill_(-torch.inf)
    pair = _pair_tile(points, laws)
    tiles = triton.cdiv(points, pair["POINTS"])
    blocks = triton.cdiv(laws, pair["LAWS"])
    per_program = triton.cdiv(blocks * tiles, PROGRAMS) * pair["LAWS"]
    splits = triton.cdiv(laws, per_program)
    joint = torch.empty((splits, points), dtype=z.dtype, device=z.device)
    inputs = _transposed(z, mean, logvar)
    joint_kernel[(tiles, splits)](*inputs, joint, points, laws, latent, per_program, **pair)
    high, across = _column_tile(points, latent)
    marginal_kernel[(triton.cdiv(points, high), triton.cdiv(latent, across))](
        z, mean, logvar, marginal, points, laws, latent, LOG_2PI=LOG_2PI, POINTS=high, COLUMNS=across
    )
    return joint[0] if splits == 1 else joint.logsumexp(0), marginal


def backward(
    z: Tensor,
    mean: Tensor,
    logvar: Tensor,
    joint: Tensor,
    marginal: Tensor,
    grad_joint: Tensor | None,
    grad_marginal: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of z, mean and logvar."""
    dtype = z.dtype
    z, mean, logvar = _inputs(z, mean, logvar)
    (points, latent), laws = z.shape, len(mean)
    by_z, by_mean, by_logvar = torch.zeros_like(z), torch.zeros_like(mean), torch.zeros_like(logvar)
    if points and laws and latent:
        constants = {"HAS_JOINT": grad_joint is not None, "HAS_MARGINAL": grad_marginal is not None, "LOG_2PI": LOG_2PI}
        given = (marginal, None if grad_marginal is None else grad_marginal.contiguous())
        transposed = _transposed(z, mean, logvar)
        step = max(1, SHARES // laws)
        for first in range(0, points, step):
            some = min(step, points - first)
            shares = shares_transposed = None
            if grad_joint is not None:
                shares = torch.empty((some, laws), dtype=z.dtype, device=z.device)
                pair = _pair_tile(some, laws)
                shares_kernel[(triton.cdiv(some, pair["POINTS"]), triton.cdiv(laws, pair["LAWS"]))](
                    *transposed, joint, grad_joint.contiguous(), shares, first, some, points, laws, latent, **pair
                )
                shares_transposed = shares.t().contiguous()
            high, across = _column_tile(some, latent)
            points_kernel[(triton.cdiv(some, high), triton.cdiv(latent, across))](
                z,
                mean,
                logvar,
                *given,
                shares_transposed,
                by_z,
                first,
                some,
                laws,
                latent,
                **constants,
                POINTS=high,
                COLUMNS=across,
            )
            here = slice(first, first + some)
            high, across = _column_tile(laws, latent)
            laws_kernel[(triton.cdiv(laws, high), triton.cdiv(latent, across))](
                z[here],
                mean,
                logvar,
                *(None if x is None else x[here] for x in given),
                shares,
                by_mean,
                by_logvar,
                some,
                laws,
                latent,
                **constants,
                LAWS=high,
                COLUMNS=across,
            )
    return by_z.to(dtype), by_mean.to(dtype), by_logvar.to(dtype)
