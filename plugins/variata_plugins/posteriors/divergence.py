r"""KL of any Gaussian from a diagonal one,

    KL(q || N(m, diag s^2)) = -H(q) + 1/2 sum_j [ ((mu_j - m_j)^2 + S_jj) / s_j^2 + log s_j^2 + log 2 pi ],

since the second expectation needs of q only its mean mu and its variances S_jj.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.distributions import LowRankMultivariateNormal, MultivariateNormal

from variata import DiagonalNormal


def kl_from_diagonal(q: MultivariateNormal | LowRankMultivariateNormal, p: DiagonalNormal) -> Tensor:
    """`[batch]`, in nats."""
    second_moment = (q.mean - p.mu).square() + q.variance
    return 0.5 * (second_moment * (-p.logvar).exp() + p.logvar + math.log(2 * math.pi)).sum(-1) - q.entropy()
