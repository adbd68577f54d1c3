r"""The operator in plain torch: so many points at a time that their part of `[points, laws, latent]` stays small."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .reference import LOG_2PI, LOGVAR_BOUND, MEAN_BOUND

# Elements of the tensor over points, laws and dimensions that exist at once: 4 MiB in float32.
CHUNK = 1 << 20


def wide(x: Tensor, bound: float) -> Tensor:
    """In the arithmetic's type, and within the bound."""
    return x.to(torch.promote_types(x.dtype, torch.float32)).clamp(-bound, bound)


def _chunks(z: Tensor, mean: Tensor, logvar: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """For some points at a time: which, their distance from each mean, that over the variance, and log N."""
    precision, constant = logvar.neg().exp(), logvar + LOG_2PI
    step = max(1, CHUNK // max(1, mean.numel()))
    for start in range(0, len(z), step):
        some = slice(start, start + step)
        distance = z[some, None] - mean
        slope = distance * precision
        yield some, distance, slope, torch.addcmul(constant, distance, slope).mul_(-0.5)


def forward(z: Tensor, mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """joint `[points]` and marginal `[points, latent]`."""
    z, mean, logvar = wide(z, MEAN_BOUND), wide(mean, MEAN_BOUND), wide(logvar, LOGVAR_BOUND)
    joint, marginal = z.new_empty(z.shape[:1]), torch.empty_like(z)
    for some, _, _, t in _chunks(z, mean, logvar):
        joint[some] = t.sum(-1).logsumexp(1)
        marginal[some] = t.logsumexp(1)
    return joint, marginal


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
    z, mean, logvar = wide(z, MEAN_BOUND), wide(mean, MEAN_BOUND), wide(logvar, LOGVAR_BOUND)
    by_z, by_mean, by_logvar = torch.zeros_like(z), torch.zeros_like(mean), torch.zeros_like(logvar)
    for some, distance, slope, t in _chunks(z, mean, logvar):
        share = torch.zeros_like(t)
        if grad_joint is not None:
            share += ((t.sum(-1) - joint[some, None]).exp_() * grad_joint[some, None]).unsqueeze(-1)
        if grad_marginal is not None:
            share += t.sub_(marginal[some, None]).exp_().mul_(grad_marginal[some, None])
        by_logvar += (distance.mul_(slope).sub_(1).mul_(share)).sum(0)
        pull = slope.mul_(share)
        by_z[some] = -pull.sum(1)
        by_mean += pull.sum(0)
    return by_z.to(dtype), by_mean.to(dtype), by_logvar.mul_(0.5).to(dtype)
