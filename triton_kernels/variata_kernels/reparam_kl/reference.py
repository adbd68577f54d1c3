r"""The operator as a formula that autograd differentiates: what every kernel has to agree with.

    z      = mu + exp(logvar / 2) eps,   eps ~ N(0, I)
    KL_j   = 1/2 [ mu_j^2 + exp(logvar_j) - 1 - logvar_j ]                               against N(0, 1)
    KL_j   = 1/2 [ (mu_j - mu'_j)^2 / exp(logvar'_j) + exp(l_j) - 1 - l_j ],  l = logvar - logvar'   in general
    log w  = log p(z) - log q(z | x) = 1/2 sum_j [ eps_j^2 + logvar_j - (z_j - mu'_j)^2 / exp(logvar'_j) - logvar'_j ]

Kingma and Welling (2014), Auto-Encoding Variational Bayes, arXiv:1312.6114, appendix B; Burda, Grosse and Salakhutdinov
(2016), Importance Weighted Autoencoders, arXiv:1509.00519; Roeder, Wu and Duvenaud (2017), Sticking the Landing,
arXiv:1703.09194.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Beyond these a mean and a log variance are taken as the bound, and so is a single term of a sum: in float32 all that
# follows from any finite numbers is then finite. Gradients are those at the bound, which lead back.
MEAN_BOUND = 1e15
LOGVAR_BOUND = 80.0
TERM_BOUND = 1e37


def excess(x: Tensor) -> Tensor:
    """exp(x) - 1 - x, to the last digits of float32 also near zero, where the difference cancels.

    Float32 is widened for it; where there is no float64, a series is taken for |x| < 1/2.
    """
    if x.dtype == torch.float64:
        return torch.expm1(x) - x
    if x.device.type != "mps":
        wide = x.double()
        return (torch.expm1(wide) - wide).to(x.dtype)
    return excess_by_series(x)


def excess_by_series(x: Tensor, terms: int = 9) -> Tensor:
    r"""The same by x^2 \sum_{n=2}^{terms} x^{n-2} / n! for |x| < 1/2."""
    near = x.clamp(-0.5, 0.5)
    series = torch.full_like(x, 1 / math.factorial(terms))
    for n in range(terms - 1, 1, -1):
        series = series * near + 1 / math.factorial(n)
    return torch.where(x.abs() < 0.5, series * near * near, torch.expm1(x) - x)


def gaussian_kl(
    mean: Tensor, logvar: Tensor, prior_mean: Tensor | None = None, prior_logvar: Tensor | None = None
) -> Tensor:
    """KL(N(mean, exp logvar) || N(prior_mean, exp prior_logvar)) of each dimension, in nats, of the inputs' broadcast
    shape. Without a prior: against N(0, 1)."""
    if prior_mean is None or prior_logvar is None:
        return 0.5 * (mean.square() + excess(logvar))
    return 0.5 * ((mean - prior_mean).square() * (-prior_logvar).exp() + excess(logvar - prior_logvar))


def bounded(x: Tensor, bound: float) -> Tensor:
    """x where it lies within the bound, else the bound; the gradient passes."""
    return x + (x.clamp(-bound, bound) - x).detach() if x.requires_grad else x.clamp(-bound, bound)


def reparam_kl(
    mean: Tensor,
    logvar: Tensor,
    prior_mean: Tensor | None,
    prior_logvar: Tensor | None,
    eps: Tensor,
    *,
    per_dimension: bool = False,
    path_only: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """The operator for given noise.

    Args:
        mean, logvar, prior_mean, prior_logvar: `[*batch, latent]`, the last two None for N(0, I).
        eps: `[*samples, *batch, latent]`.
        per_dimension: the KL of each dimension.
        path_only: log q has q's parameters constant, and z not.

    Returns:
        z of eps' shape and mean's type, the KL `[*batch]` or `[*batch, latent]`, and log p(z) - log q(z | x),
        `[*samples, *batch]`, both in float32 or wider.
    """
    dtype = mean.dtype
    wide = dtype if dtype == torch.float64 else torch.float32
    mean, logvar = bounded(mean.to(wide), MEAN_BOUND), bounded(logvar.to(wide), LOGVAR_BOUND)
    eps = eps.to(wide)
    z = mean + (0.5 * logvar).exp() * eps

    log_q = eps.square() + logvar
    if path_only:
        # (z - z.detach()) is zero: the value comes from eps, without the cancellation of (z - mu) / sigma.
        constant = logvar.detach()
        log_q = (eps + (z - z.detach()) * (-0.5 * constant).exp()).square() + constant

    if prior_mean is None or prior_logvar is None:
        kl, log_p = 0.5 * (mean.square() + excess(logvar)), z.square()
    else:
        prior_mean = bounded(prior_mean.to(wide), MEAN_BOUND)
        prior_logvar = bounded(prior_logvar.to(wide), LOGVAR_BOUND)
        kl = bounded(gaussian_kl(mean, logvar, prior_mean, prior_logvar), TERM_BOUND)
        log_p = bounded((z - prior_mean).square() * (-prior_logvar).exp(), TERM_BOUND) + prior_logvar
    largest = torch.finfo(wide).max
    log_weight = (0.5 * (log_q - log_p)).sum(-1).clamp(-largest, largest)
    return z.to(dtype), kl if per_dimension else kl.sum(-1).clamp(max=largest), log_weight
