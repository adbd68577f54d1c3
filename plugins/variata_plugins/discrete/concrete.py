r"""Rows of independent Concrete (Gumbel-softmax) vectors: points inside the simplex, with a density.

    z = softmax((log a + g) / t),   g_k ~ Gumbel(0, 1)

    log p(z) = log (K-1)! + (K-1) log t + sum_k [ log a_k - (t + 1) log z_k ] - K log sum_k a_k z_k^-t

for each of the rows, with respect to the measure of K - 1 of the coordinates. As t falls to 0, z becomes one-hot with
probabilities a_k / sum a. What is smaller than the type's least normal number is taken as that.

Maddison, Mnih and Teh (2017), The Concrete Distribution: A Continuous Relaxation of Discrete Random Variables,
arXiv:1611.00712. Jang, Gu and Poole (2017), Categorical Reparameterization with Gumbel-Softmax, arXiv:1611.01144.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints, register_kl

from variata import Unsupported

from .one_hot import gumbel


class Concrete(Distribution):
    """Independent Concrete laws.

    Args:
        logits: log a, `[*batch, variables, classes]`; events are `[variables * classes]`.
        temperature: t.
    """

    has_rsample = True

    def __init__(self, logits: Tensor, temperature: Tensor) -> None:
        self.log_weights, self.temperature = logits.log_softmax(-1), temperature
        *batch, variables, classes = logits.shape
        super().__init__(torch.Size(batch), torch.Size([variables * classes]), validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {}

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.unit_interval, 1)

    @property
    def mean(self) -> Tensor:
        """The probabilities of each class to be the greatest, a / sum a: the law's own mean has no closed form."""
        return self.log_weights.exp().flatten(-2)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = gumbel(self.log_weights, torch.Size(sample_shape) + self.log_weights.shape)
        log_z = ((self.log_weights + noise) / self.temperature).log_softmax(-1)
        return log_z.clamp(min=self._floor(log_z)).exp().flatten(-2)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        classes, t = self.log_weights.shape[-1], self.temperature
        value = value.unflatten(-1, self.log_weights.shape[-2:])
        log_z = value.clamp(min=torch.finfo(value.dtype).tiny).log()
        scores = self.log_weights - t * log_z
        constant = math.lgamma(classes) + (classes - 1) * torch.as_tensor(t).log()
        each = (scores - log_z).sum(-1) - classes * scores.logsumexp(-1) + constant
        return each.sum(-1)

    def detached(self) -> Concrete:
        """The same law, with parameters that receive no gradient."""
        return Concrete(self.log_weights.detach(), self.temperature)

    @staticmethod
    def _floor(like: Tensor) -> float:
        return math.log(torch.finfo(like.dtype).tiny)


@register_kl(Concrete, Distribution)
def _kl_concrete(q: Concrete, p: Distribution) -> Tensor:
    if isinstance(p, Concrete):
        raise NotImplementedError  # there is no closed form, and the draw gives an estimate
    raise Unsupported(
        f"the KL of relaxed codes is defined against a prior of such codes, not {type(p).__name__}: "
        "use the prior that has the encoder's name"
    )
