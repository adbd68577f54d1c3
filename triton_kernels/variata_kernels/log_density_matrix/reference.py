r"""The operator as a formula that autograd differentiates: what every kernel has to agree with.

    t_ijd   = log N(z_id; mu_jd, exp logvar_jd)
    joint_i = log sum_j exp( sum_d t_ijd ),       marginal_id = log sum_j exp t_ijd

Chen, Li, Grosse and Duvenaud (2018), Isolating Sources of Disentanglement in VAEs, arXiv:1802.04942.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)
# Beyond these z, a mean and a log variance are taken as the bound: all that follows is then finite in float32.
MEAN_BOUND = 1e9
LOGVAR_BOUND = 30.0


def bounded(x: Tensor, bound: float) -> Tensor:
    """x in float32 or wider, where it lies within the bound, else the bound; the gradient passes."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return x + (x.clamp(-bound, bound) - x).detach()


def log_density_matrix(z: Tensor, mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """joint `[points]` and marginal `[points, latent]`, through the whole `[points, laws, latent]`."""
    z, mean, logvar = bounded(z, MEAN_BOUND), bounded(mean, MEAN_BOUND), bounded(logvar, LOGVAR_BOUND)
    t = -0.5 * ((z[:, None] - mean).square() * (-logvar).exp() + logvar + LOG_2PI)
    return t.sum(-1).logsumexp(1), t.logsumexp(1)
