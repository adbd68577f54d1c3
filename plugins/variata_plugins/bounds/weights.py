r"""The mean of M importance-weighted bounds, and three estimates of its gradient with respect to the encoder.

    1/M sum_m log 1/K sum_k w_mk,   w = p(x, z) / q(z | x),   v_mk = w_mk / sum_k w_mk

Let z = z(phi, noise). The gradient of log w has a part that goes through z, and the score of q at a fixed z:

    total   sum_k v_k [ dlog w_k/dz dz/dphi  -  dlog q_phi(z_k)/dphi ]    unbiased
    stl     sum_k v_k   dlog w_k/dz dz/dphi                                unbiased for K = 1 alone
    dreg    sum_k v_k^2 dlog w_k/dz dz/dphi                                unbiased: the score, reparameterised too

The last two vanish, draw by draw, where q is the exact posterior: there log w does not depend on z. The gradients with
respect to the decoder and the prior are the same, sum_k v_k dlog p(x, z_k)/dtheta, in all three.

Roeder, Wu and Duvenaud (2017), Sticking the Landing, arXiv:1703.09194. Tucker, Lawson, Gu and Maddison (2019), Doubly
Reparameterized Gradient Estimators for Monte Carlo Objectives, arXiv:1810.04152 (the last, and the bias of the second).
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from variata import Terms

Gradient = Literal["total", "stl", "dreg"]


def importance_weighted(terms: Terms, groups: int = 1, gradient: Gradient = "total") -> Tensor:
    """The bound, `[batch]`: the mean over `groups` of the logarithm of each group's mean weight.

    Args:
        terms: of `groups` times K draws.
        gradient: which estimate of its gradient is followed; the value is the same.

    Raises:
        Unsupported: another gradient than "total" for several layers, or for a posterior whose parameters cannot be
            held constant.
    """
    stop = None if gradient == "total" else "parameters"
    log_weights = terms.log_weights(stop).unflatten(0, (groups, -1))
    if gradient == "dreg":
        _weigh_again(terms.layers[0].z, log_weights.detach().softmax(1).flatten(0, 1))
    return (log_weights.logsumexp(1) - math.log(log_weights.shape[1])).mean(0)


def _weigh_again(z: Tensor, shares: Tensor) -> None:
    """What comes back to z through log w, and carries the factor v already, is multiplied by v: `[samples, batch]`."""
    if z.requires_grad:
        factors = shares.view(*shares.shape, *[1] * (z.ndim - shares.ndim))
        z.register_hook(lambda gradient: gradient * factors)
