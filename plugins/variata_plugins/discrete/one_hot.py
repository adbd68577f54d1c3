r"""Rows of independent one-hot vectors, packed on the last axis, with log p(z) = sum_l sum_k z_lk log pi_lk.

A draw is exact: the class is argmax_k (log pi_k + g_k) for g_k ~ Gumbel(0, 1) (Gumbel, 1954, Statistical theory of
extreme values; Maddison, Tarlow and Minka, 2014, A* sampling). It has no derivative; `rsample` returns it with that of

    gumbel          softmax((log pi + g) / temperature), the same noise      Jang, Gu and Poole (2017), arXiv:1611.01144
    probabilities   pi                                      Bengio, Leonard and Courville (2013), arXiv:1308.3432

("straight through"), which is biased: the value that the decoder sees is exact, its gradient is not.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints, register_kl

from variata import Unsupported

Gradient = Literal["gumbel", "probabilities"]


def gumbel(like: Tensor, shape: torch.Size) -> Tensor:
    """Gumbel(0, 1) noise of a shape, of the type and device of `like`."""
    noise = torch.empty(shape, dtype=like.dtype, device=like.device).exponential_()
    return -noise.clamp(min=torch.finfo(like.dtype).tiny).log()


class OneHot(Distribution):
    """Independent categorical laws over one-hot vectors.

    Args:
        logits: `[*batch, variables, classes]`; events are `[variables * classes]`.
        temperature: of the relaxed draw whose gradient is taken.
        gradient: which gradient that is.
    """

    has_rsample = True

    def __init__(self, logits: Tensor, temperature: float | Tensor = 1.0, gradient: Gradient = "gumbel") -> None:
        self.log_weights = logits.log_softmax(-1)
        self.temperature = temperature
        self.gradient: Gradient = gradient
        *batch, variables, classes = logits.shape
        super().__init__(torch.Size(batch), torch.Size([variables * classes]), validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {}

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.boolean, 1)

    @property
    def mean(self) -> Tensor:
        return self.log_weights.exp().flatten(-2)

    @property
    def mode(self) -> Tensor:
        return _one_hot(self.log_weights).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        return (value * self.log_weights.flatten(-2)).sum(-1)

    def entropy(self) -> Tensor:
        return -(self.log_weights.exp() * self.log_weights).sum((-2, -1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noisy = self.log_weights + gumbel(self.log_weights, torch.Size(sample_shape) + self.log_weights.shape)
        hard = _one_hot(noisy)
        soft = (noisy / self.temperature).softmax(-1) if self.gradient == "gumbel" else self.log_weights.exp()
        return (hard + (soft - soft.detach())).flatten(-2)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def detached(self) -> OneHot:
        """The same law, with parameters that receive no gradient."""
        return OneHot(self.log_weights.detach(), self.temperature, self.gradient)


def _one_hot(scores: Tensor) -> Tensor:
    return torch.zeros_like(scores).scatter(-1, scores.argmax(-1, keepdim=True), 1.0)


@register_kl(OneHot, OneHot)
def _kl_one_hot(q: OneHot, p: OneHot) -> Tensor:
    return (q.log_weights.exp() * (q.log_weights - p.log_weights)).sum((-2, -1))


@register_kl(OneHot, Distribution)
def _kl_other(q: OneHot, p: Distribution) -> Tensor:
    raise Unsupported(
        f"the KL of one-hot codes is defined against a prior of such codes, not {type(p).__name__}: "
        "use the prior that has the encoder's name"
    )
