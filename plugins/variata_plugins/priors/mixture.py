r"""A mixture of diagonal Gaussians,

    p(z) = sum_k pi_k N(z; m_k, diag s_k^2).

Where all points meet the same components, log N is a product of matrices,

    log N(z; m, s^2) = z' (m / s^2) - 1/2 (z^2)' (1 / s^2) - 1/2 sum_j [ m_j^2 / s_j^2 + log s_j^2 + log 2 pi ],

in float64, since its parts are far larger than their sum.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints

from variata import DiagonalNormal

_LOG_2PI = math.log(2 * math.pi)


class DiagonalMixture(Distribution):
    """A mixture of diagonal Gaussians.

    Args:
        components: batch shape `[*batch, K]`, event shape `[latent]`.
        log_weights: log pi, `[*batch, K]`, or `[K]` for all.
    """

    def __init__(self, components: DiagonalNormal, log_weights: Tensor) -> None:
        self.components, self.log_weights = components, log_weights
        super().__init__(components.batch_shape[:-1], components.event_shape, validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {}

    @property
    def support(self) -> constraints.Constraint:
        return constraints.real_vector

    @property
    def mean(self) -> Tensor:
        return (self.log_weights.exp().unsqueeze(-1) * self.components.mean).sum(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        logs = self.components.log_prob(value.unsqueeze(-2)) if self.batch_shape else self._all_pairs(value)
        return (logs + self.log_weights).logsumexp(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape, components = torch.Size(sample_shape), self.components
        with torch.no_grad():
            weights = self.log_weights.expand(components.batch_shape)
            which = Categorical(logits=weights, validate_args=False).sample(shape)[..., None, None]
            which = which.expand(*which.shape[:-1], components.event_shape[0])
            mean, stddev = (
                values.expand(*shape, *values.shape).gather(-2, which).squeeze(-2)
                for values in (components.mean, components.stddev)
            )
            return mean + stddev * torch.randn_like(mean)

    def _all_pairs(self, value: Tensor) -> Tensor:
        """log N of every point under every component, `[*lead, K]`."""
        mean, logvar = self.components.mu.double(), self.components.logvar.double()
        z = value.double().reshape(-1, value.shape[-1])
        precision = (-logvar).exp()
        constant = (mean.square() * precision + logvar + _LOG_2PI).sum(-1)
        logs = torch.addmm(-0.5 * constant, z, (mean * precision).T) - 0.5 * (z.square() @ precision.T)
        return logs.to(value.dtype).view(*value.shape[:-1], -1)
