r"""The von Mises-Fisher law and the uniform law on S^{m-1} in R^m, and how far the first is from the second.

    vMF(z; mu, k) = exp(k mu'z) / Z_m(k),      log Z_m(k) = k + h_v(k) + m/2 log 2 pi,      v = m/2 - 1
    U(z)          = 1 / |S^{m-1}|,             log |S^{m-1}| = log 2 + m/2 log pi - log Gamma(m/2)

with h of `bessel.py`; densities are with respect to the area of the sphere. The mean of a von Mises-Fisher law lies
inside the sphere: E[z] = A_m(k) mu, A_m = I_{v+1} / I_v.

Mardia and Jupp (2000), Directional Statistics, section 9.3.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints, register_kl
from torch.nn.functional import normalize

from .angle import draw_angle
from .bessel import bessel_ratio, log_bessel

_MOST = 1e6


class _Sphere(constraints.Constraint):
    """Vectors of length one."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value.norm(dim=-1) - 1).abs() < 1e-3


sphere = _Sphere()


class VonMisesFisher(Distribution):
    r"""exp(k mu'z) / Z_m(k) on the sphere: round about mu, the more concentrated the greater k is; uniform at k = 0.

    k is bounded by 1e6. What depends on it alone is computed in float64 and given in the type of mu; half precision is
    raised to float32.

    Args:
        direction: mu, `[*batch, m]`, brought to length one.
        concentration: k, `[*batch]`, not negative.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "direction": sphere,
        "concentration": constraints.nonnegative,
    }
    support = sphere
    has_rsample = True

    def __init__(self, direction: Tensor, concentration: Tensor) -> None:
        if direction.dtype in (torch.float16, torch.bfloat16):
            direction, concentration = direction.float(), concentration.float()
        self.direction, self.concentration = normalize(direction, dim=-1), concentration.clamp(max=_MOST)
        self.order = direction.shape[-1] / 2 - 1
        super().__init__(concentration.shape, direction.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        length = bessel_ratio(self.order, self.concentration).to(self.direction.dtype)
        return length.unsqueeze(-1) * self.direction

    @property
    def mode(self) -> Tensor:
        return self.direction

    def expand(self, batch_shape: Any, _instance: Any = None) -> VonMisesFisher:
        shape = torch.Size(batch_shape)
        return VonMisesFisher(self.direction.expand(*shape, -1), self.concentration.expand(shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """z = mu cos a + v sin a, with the angle a from `angle.py`, and v uniform among the directions that are at
        right angles to mu."""
        shape = self._extended_shape(torch.Size(sample_shape))
        angle = draw_angle(self.concentration.double().expand(shape[:-1]), shape[-1])
        angle = angle.to(self.direction.dtype).unsqueeze(-1)
        v = torch.randn(shape, dtype=self.direction.dtype, device=self.direction.device)
        for _ in range(2):  # the second time, since v may have lain along mu but for the rounding
            v = normalize(v - (v * self.direction).sum(-1, keepdim=True) * self.direction, dim=-1)
        return angle.cos() * self.direction + angle.sin() * v

    def log_prob(self, value: Tensor) -> Tensor:
        # k (mu'z - 1), without the cancellation.
        along = -0.5 * self.concentration * (value - self.direction).square().sum(-1)
        return along - (self._log_normaliser() - self.concentration.double()).to(along.dtype)

    def entropy(self) -> Tensor:
        return -self._negentropy().to(self.direction.dtype)

    def detached(self) -> VonMisesFisher:
        """The same law, with parameters that receive no gradient."""
        return VonMisesFisher(self.direction.detach(), self.concentration.detach())

    def _log_normaliser(self) -> Tensor:
        k = self.concentration.double()
        return k + log_bessel(self.order, k) + (self.order + 1) * math.log(2 * math.pi)

    def _negentropy(self) -> Tensor:
        k = self.concentration.double()
        return k * bessel_ratio(self.order, k) - self._log_normaliser()


class HypersphericalUniform(Distribution):
    """Every direction is equally likely.

    Args:
        like: of the shape `[*batch, m]`, the type and the device of what is drawn; its values are not read.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = sphere

    def __init__(self, like: Tensor) -> None:
        self.like = like
        super().__init__(like.shape[:-1], like.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return torch.zeros_like(self.like)

    def expand(self, batch_shape: Any, _instance: Any = None) -> HypersphericalUniform:
        return HypersphericalUniform(self.like.expand(*torch.Size(batch_shape), -1))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        return normalize(torch.randn(shape, dtype=self.like.dtype, device=self.like.device), dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return value.new_full(shape, -log_area(self.like.shape[-1]))

    def entropy(self) -> Tensor:
        return self.like.new_full(self.batch_shape, log_area(self.like.shape[-1]))


def log_area(dimensions: int) -> float:
    """log |S^{dimensions-1}|: of the circle log 2 pi, of the sphere log 4 pi."""
    return math.log(2) + dimensions / 2 * math.log(math.pi) - math.lgamma(dimensions / 2)


@register_kl(VonMisesFisher, HypersphericalUniform)
def _kl(q: VonMisesFisher, p: HypersphericalUniform) -> Tensor:
    """E_q[log q] + log |S|, since log p is the same everywhere."""
    return (q._negentropy() + log_area(q.event_shape[0])).to(q.direction.dtype)
