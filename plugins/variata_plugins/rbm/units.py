r"""What the visible units are: their part of the energy, and their law given the hidden ones.

With f = W h, the field of the hidden units, and beta between 0 (the base law, without hidden units) and 1 (the model):

    E(v, h) = energy(v) - drive(v)' f - c' h          energy_beta(v) = (1 - beta) base(v) + beta energy(v)

    binary     energy = -b' v,                           base = -b0' v,                          drive = v
    Gaussian   energy = sum_i (v_i - b_i)^2 / 2 s_i^2,   base = sum_i (v_i - m_i)^2 / 2 r_i^2,   drive_i = v_i / s_i^2

b0 is the logit of the training examples' mean, m and r are their mean and standard deviation: the base law is the
best one whose elements are independent, and b, s start there.

Salakhutdinov and Murray (2008), On the quantitative analysis of deep belief networks (the base law). Cho, Ilin and
Raiko (2011), Improved learning of Gaussian-Bernoulli restricted Boltzmann machines (this form of the Gaussian energy).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent
from torch.nn.functional import binary_cross_entropy_with_logits

from variata import Batch, ConfigError, DataSpec, DiagonalNormal, Prepares, Problem

_LOGVAR_BOUND = 30.0


def column(beta: float | Tensor) -> float | Tensor:
    """A beta for each example, `[n]`, as `[n, 1]`; one beta for all as it is."""
    return beta[:, None] if isinstance(beta, Tensor) and beta.ndim else beta


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), to the last digit of float64."""
    return nn.functional.softplus(x, threshold=40.0)


def coin(logits: Tensor) -> Tensor:
    """Ones with probability sigmoid(logits). A logit that is not a number gives 0, so that the loss says what is
    wrong."""
    return torch.rand_like(logits).lt_(logits.sigmoid())


class VisibleUnits(nn.Module, Prepares, ABC):
    """Visible units, as flat examples v `[n, visible]` and fields f `[n, visible]`. Given: `data: DataSpec`.

    `models` names the kinds of values that the units take, as a decoder's does.
    """

    models: ClassVar[tuple[str, ...]]

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        if data.support not in self.models:
            remedy = "set model.visible=binary" if data.support == "binary" else "set model.visible=gaussian"
            if data.support == "levels":
                remedy = "set data.binarize (dynamic, static or threshold) for binary units, or data.dequantize=uniform"
                remedy += " for gaussian ones"
            message = f"{type(self).__name__} take {' or '.join(self.models)} values, but the data is {data.describe()}"
            raise ConfigError(Problem(f"{message}: {remedy}"))

    @property
    @abstractmethod
    def states(self) -> int | None:
        """How many values one unit takes; None where they are not countable."""

    @abstractmethod
    def energy(self, v: Tensor, beta: float | Tensor = 1.0) -> Tensor:
        """energy_beta(v), `[n]`."""

    @abstractmethod
    def drive(self, v: Tensor) -> Tensor:
        """What the hidden units see of v."""

    @abstractmethod
    def sample(self, field: Tensor, beta: float | Tensor = 1.0) -> Tensor:
        """v ~ p_beta(v | h)."""

    @abstractmethod
    def mean(self, field: Tensor) -> Tensor:
        """E[v | h]."""

    @abstractmethod
    def log_prob(self, v: Tensor, field: Tensor) -> Tensor:
        """log p(v | h), `[n]`."""

    @abstractmethod
    def log_integral(self, field: Tensor) -> Tensor:
        """log of the sum (or integral) of exp(-energy(v) + drive(v)' f) over all v, `[n]`."""

    @abstractmethod
    def base(self) -> Distribution:
        """The law at beta = 0, with the data's event shape."""


class BinaryUnits(VisibleUnits):
    """Units that are 0 or 1. Before `variata.prepare`, b and b0 are zero.

    Args:
        data: what an example is.
    """

    models = ("binary",)
    base_logits: Tensor

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.shape = data.shape
        self.bias = nn.Parameter(torch.zeros(data.dimensions))
        self.register_buffer("base_logits", torch.zeros(data.dimensions))

    @property
    def states(self) -> int:
        return 2

    def energy(self, v: Tensor, beta: float | Tensor = 1.0) -> Tensor:
        return -torch.lerp(v @ self.base_logits.to(v.dtype), v @ self.bias.to(v.dtype), beta)

    def drive(self, v: Tensor) -> Tensor:
        return v

    def sample(self, field: Tensor, beta: float | Tensor = 1.0) -> Tensor:
        return coin(torch.lerp(self.base_logits, self.bias + field, column(beta)))

    def mean(self, field: Tensor) -> Tensor:
        return (self.bias + field).sigmoid()

    def log_prob(self, v: Tensor, field: Tensor) -> Tensor:
        return -binary_cross_entropy_with_logits(self.bias + field, v, reduction="none").sum(-1)

    def log_integral(self, field: Tensor) -> Tensor:
        return softplus(self.bias + field).sum(-1)

    def base(self) -> Distribution:
        law = Bernoulli(logits=self.base_logits.reshape(self.shape), validate_args=False)
        return Independent(law, len(self.shape), validate_args=False)

    @torch.no_grad()
    def prepare(self, stream: Iterable[Batch]) -> None:
        """b = b0 = log (ones + 1) / (zeros + 1) of each unit."""
        ones, examples = torch.zeros_like(self.base_logits, dtype=torch.float64), 0
        for batch in stream:
            ones += batch.x.flatten(1).sum(0)
            examples += len(batch)
        self.base_logits.copy_(((ones + 1) / (examples - ones + 1)).log())
        self.bias.copy_(self.base_logits)


class GaussianUnits(VisibleUnits):
    """Units that are real: v | h ~ N(b + W h, s^2). Before `variata.prepare`, the base law is N(0, 1).

    Args:
        data: what an example is.
        scale: s where learning starts, in units of each element's standard deviation in the training data.
        learned: move s by gradients, too.
    """

    models = ("real", "interval")
    base_mean: Tensor
    base_logvar: Tensor

    def __init__(self, data: DataSpec, *, scale: PositiveFloat = 1.0, learned: bool = False) -> None:
        super().__init__(data)
        self.shape, self.log_scale = data.shape, math.log(scale)
        self.bias = nn.Parameter(torch.zeros(data.dimensions))
        self.logvar = nn.Parameter(torch.full((data.dimensions,), 2 * self.log_scale), requires_grad=learned)
        self.register_buffer("base_mean", torch.zeros(data.dimensions))
        self.register_buffer("base_logvar", torch.zeros(data.dimensions))

    @property
    def states(self) -> None:
        return None

    @property
    def precision(self) -> Tensor:
        """1 / s^2."""
        return (-self.logvar.clamp(-_LOGVAR_BOUND, _LOGVAR_BOUND)).exp()

    def energy(self, v: Tensor, beta: float | Tensor = 1.0) -> Tensor:
        base = 0.5 * ((v - self.base_mean).square() * (-self.base_logvar).exp()).sum(-1)
        own = 0.5 * ((v - self.bias).square() * self.precision).sum(-1)
        return torch.lerp(base, own, beta)

    def drive(self, v: Tensor) -> Tensor:
        return v * self.precision

    def sample(self, field: Tensor, beta: float | Tensor = 1.0) -> Tensor:
        at_base = (-self.base_logvar).exp()
        precision = torch.lerp(at_base, self.precision, column(beta))
        pull = torch.lerp(at_base * self.base_mean, self.precision * (self.bias + field), column(beta))
        return pull / precision + torch.randn_like(field) * precision.rsqrt()

    def mean(self, field: Tensor) -> Tensor:
        return self.bias + field

    def log_prob(self, v: Tensor, field: Tensor) -> Tensor:
        return DiagonalNormal(self.bias + field, -self.precision.log().expand_as(field)).log_prob(v)

    def log_integral(self, field: Tensor) -> Tensor:
        r"""log integral = sum_i [ (2 b_i f_i + f_i^2) / 2 s_i^2 + 1/2 log 2 pi s_i^2 ]."""
        shifted = 0.5 * self.precision * field * (2 * self.bias + field)
        return (shifted + 0.5 * math.log(2 * math.pi) - 0.5 * self.precision.log()).sum(-1)

    def base(self) -> Distribution:
        mean, logvar = self.base_mean.reshape(self.shape), self.base_logvar.reshape(self.shape)
        return DiagonalNormal(mean, logvar, len(self.shape))

    @torch.no_grad()
    def prepare(self, stream: Iterable[Batch]) -> None:
        """m and r are the mean and standard deviation of each unit in the data (r = 1 where it is constant); b = m,
        s = scale r."""
        total, examples = torch.zeros_like(self.base_mean, dtype=torch.float64), 0
        for batch in stream:
            total += batch.x.flatten(1).double().sum(0)
            examples += len(batch)
        mean, squares = total / max(examples, 1), torch.zeros_like(total)
        for batch in stream:
            squares += (batch.x.flatten(1).double() - mean).square().sum(0)
        self.base_mean.copy_(mean)
        self.base_logvar.copy_(torch.where(squares > 0, squares / max(examples, 1), 1.0).log())
        self.bias.copy_(self.base_mean)
        self.logvar.copy_(self.base_logvar + 2 * self.log_scale)
