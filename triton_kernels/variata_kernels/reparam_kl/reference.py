r"""The operator in plain torch: the definition that a fused kernel has to agree with.

    z_j  = mu_j + exp(logvar_j / 2) eps_j,   eps ~ N(0, I)
    KL_j = 1/2 [ mu_j^2 + exp(logvar_j) - 1 - logvar_j ]                                 against N(0, 1)
    KL_j = 1/2 [ (mu_j - mu'_j)^2 / exp(logvar'_j) + exp(l_j) - 1 - l_j ],  l = logvar - logvar'   in general

Kingma and Welling (2014), Auto-Encoding Variational Bayes, arXiv:1312.6114, appendix B.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_kl(
    mean: Tensor, logvar: Tensor, prior_mean: Tensor | None = None, prior_logvar: Tensor | None = None
) -> Tensor:
    """KL(N(mean, exp logvar) || N(prior_mean, exp prior_logvar)) of each dimension, in nats, of the inputs' broadcast
    shape. Without a prior: against N(0, 1)."""
    if prior_mean is None or prior_logvar is None:
        return 0.5 * (mean.square() + (torch.expm1(logvar) - logvar))
    ratio = logvar - prior_logvar
    return 0.5 * ((mean - prior_mean).square() * (-prior_logvar).exp() + (torch.expm1(ratio) - ratio))


def reparam_kl(
    mean: Tensor,
    logvar: Tensor,
    prior_mean: Tensor | None = None,
    prior_logvar: Tensor | None = None,
    *,
    samples: int | None = None,
    event_dims: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws z = mean + exp(logvar / 2) * eps with torch's generator, and the KL divergence beside it.

    Args:
        mean, logvar: `[*batch, *event]`.
        prior_mean, prior_logvar: broadcastable to the same; None for N(0, I).
        samples: None, or how many draws, 1 included.
        event_dims: how many of the last axes the KL is summed over.

    Returns:
        z `[*samples, *batch, *event]`, the KL `[*batch]` in nats, and eps, of z's shape.
    """
    shape = mean.shape if samples is None else (samples, *mean.shape)
    noise = torch.randn(shape, dtype=mean.dtype, device=mean.device)
    z = mean + (0.5 * logvar).exp() * noise
    kl = gaussian_kl(mean, logvar, prior_mean, prior_logvar)
    return z, kl.flatten(kl.ndim - event_dims).sum(-1), noise
