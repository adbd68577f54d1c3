r"""The operator and its backward in plain torch, written out: fewer operations than autograd needs, and nothing kept.

The derivation is in README.md. eps is given, or drawn again from its seed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..philox.eager import noise
from .reference import LOGVAR_BOUND, MEAN_BOUND, TERM_BOUND, excess

# Within these no sum over a row of so many dimensions reaches float32's end.
SHORT_ROW = 4096


def halves(params: Tensor, logvar: Tensor | None) -> tuple[Tensor, Tensor]:
    """mu and logvar, packed on the last axis of `params` or apart."""
    if logvar is not None:
        return params, logvar
    latent = params.shape[-1] // 2
    return params.narrow(-1, 0, latent), params.narrow(-1, latent, latent)


def _wide(mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    if mean.dtype in (torch.float16, torch.bfloat16):
        mean, logvar = mean.float(), logvar.float()
    return mean.clamp(-MEAN_BOUND, MEAN_BOUND), logvar.clamp(-LOGVAR_BOUND, LOGVAR_BOUND)


def _saturated(x: Tensor) -> Tensor:
    return x.clamp_(-TERM_BOUND, TERM_BOUND)


def forward_with(
    params: Tensor,
    logvar: Tensor | None,
    prior_mean: Tensor | None,
    prior_logvar: Tensor | None,
    eps: Tensor,
    weights: bool,
    per_dimension: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """z, the KL, and log p(z) - log q(z | x) (empty without `weights`), for eps `[*samples, *batch, latent]` of the
    arithmetic's type."""
    dtype, latent = params.dtype, eps.shape[-1]
    mean, logvar = _wide(*halves(params, logvar))
    largest = torch.finfo(mean.dtype).max
    z = torch.addcmul(mean, (logvar * 0.5).exp_(), eps)
    log_weight = eps.new_empty(0)
    if prior_mean is None or prior_logvar is None:
        kl = excess(logvar).addcmul_(mean, mean)
        if weights:
            log_weight = (eps.square() + logvar).addcmul_(z, z, value=-1)
    else:
        prior_mean, prior_logvar = _wide(prior_mean, prior_logvar)
        precision = prior_logvar.neg().exp_()
        distance = mean - prior_mean
        kl = _saturated(excess(logvar - prior_logvar)) + _saturated(_saturated(distance * precision) * distance)
        if weights:
            distance = z - prior_mean
            log_p = _saturated(_saturated(distance * precision) * distance) + prior_logvar
            log_weight = eps.square() + logvar - log_p
    if per_dimension:
        kl = kl.mul_(0.5)
    else:
        kl = kl.sum(-1).mul_(0.5)
        if prior_mean is not None or latent > SHORT_ROW:
            kl.clamp_(max=largest)
    if weights:
        log_weight = log_weight.mul_(0.5).sum(-1).clamp_(-largest, largest)
    return z.to(dtype), kl, log_weight


def backward_with(
    params: Tensor,
    logvar: Tensor | None,
    prior_mean: Tensor | None,
    prior_logvar: Tensor | None,
    eps: Tensor,
    grad_z: Tensor | None,
    grad_kl: Tensor | None,
    grad_weight: Tensor | None,
    sampled: bool,
    per_dimension: bool,
    path_only: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of params, logvar, prior_mean and prior_logvar, empty for those that were not given; the gradient of an
    output that was not used is None."""
    packed, dtype = logvar is None, params.dtype
    mean, logvar = _wide(*halves(params, logvar))
    spread = (logvar * 0.5).exp_().mul(eps)
    latent_axes = mean.shape
    precision = by_mean = by_logvar = by_prior_mean = by_prior_logvar = None
    if prior_mean is not None and prior_logvar is not None:
        prior_mean, prior_logvar = _wide(prior_mean, prior_logvar)
        precision = prior_logvar.neg().exp_()

    def over_samples(x: Tensor) -> Tensor:
        return x.sum(0) if sampled else x

    if grad_z is not None:
        grad_z = grad_z.to(mean.dtype)
        by_mean, by_logvar = over_samples(grad_z), over_samples(grad_z * spread)
    if grad_weight is not None:
        weight = grad_weight.to(mean.dtype).unsqueeze(-1)
        distance = slope = mean + spread
        if precision is not None and prior_mean is not None:
            distance = distance - prior_mean
            slope = _saturated(distance * precision)
            by_prior_mean = over_samples(weight * slope)
            by_prior_logvar = over_samples(weight * (_saturated(slope * distance) - 1))
        path = weight * ((logvar * -0.5).exp_() * eps - slope if path_only else -slope)
        by_mean = _plus(by_mean, over_samples(path))
        pull = _saturated(path * spread)
        by_logvar = _plus(by_logvar, over_samples(pull if path_only else pull + weight))
    if grad_kl is not None:
        weight = (grad_kl if per_dimension else grad_kl.unsqueeze(-1)).to(mean.dtype)
        slope, growth = mean, torch.expm1(logvar)
        if precision is not None and prior_mean is not None and prior_logvar is not None:
            distance = mean - prior_mean
            slope = _saturated(distance * precision)
            growth = _saturated(torch.expm1(logvar - prior_logvar))
            by_prior_mean = _plus(by_prior_mean, -weight * slope)
            by_prior_logvar = _plus(by_prior_logvar, -weight * (_saturated(slope * distance) + growth))
        by_mean, by_logvar = _plus(by_mean, weight * slope), _plus(by_logvar, weight * growth)

    def none() -> Tensor:
        return mean.new_empty(0, dtype=dtype)

    def finished(x: Tensor | None, factor: float) -> Tensor:
        return torch.zeros(latent_axes, dtype=dtype, device=eps.device) if x is None else (x * factor).to(dtype)

    first, second = finished(by_mean, 1.0), finished(by_logvar, 0.5)
    if packed:
        first, second = torch.cat([first, second], -1), none()
    if precision is None:
        return first, second, none(), none()
    return first, second, finished(by_prior_mean, 1.0), finished(by_prior_logvar, 0.5)


def _plus(total: Tensor | None, part: Tensor) -> Tensor:
    return part if total is None else total + part


def _noise_of(
    params: Tensor,
    logvar: Tensor | None,
    seed: Tensor,
    row_offset: Tensor | None,
    sample_offset: Tensor | None,
    stream: int,
    samples: int | None,
) -> Tensor:
    """eps `[*samples, rows, latent]` in the arithmetic's type."""
    rows, width = params.shape
    columns = width if logvar is not None else width // 2
    eps = noise(seed, samples or 1, rows, columns, row_offset, sample_offset, stream)
    if params.dtype == torch.float64:
        eps = eps.double()
    return eps[0] if samples is None else eps


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
    eps = _noise_of(params, logvar, seed, row_offset, sample_offset, stream, samples)
    return forward_with(params, logvar, prior_mean, prior_logvar, eps, samples is not None, per_dimension)


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
    eps = _noise_of(params, logvar, seed, row_offset, sample_offset, stream, samples)
    sampled = samples is not None
    given = (params, logvar, prior_mean, prior_logvar, eps, grad_z, grad_kl, grad_weight)
    return backward_with(*given, sampled, per_dimension, path_only)
