r"""The laws of single variables at the bottom of a circuit, each leaf with K of them.

    bernoulli     p^x (1 - p)^(1 - x)
    binomial      C(n, x) p^x (1 - p)^(n - x),  n = levels - 1
    categorical   p_x
    indicator     [x = k],  K = levels: nothing to learn; a sum unit above chooses the value

Parameters are log-probabilities over the outcomes of axis 1, `[leaves, outcomes, units]`. Log p(x) is linear in them,
so that its gradient is the expected number of times that each outcome was seen (em.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from variata import Batch, ConfigError, DataError, DataSpec, Problem


class Leaf(nn.Module, ABC):
    """K laws of one variable, for each leaf of a circuit. Given: `data`, `leaves` (how many) and `units` (K).

    `models` names the kinds of values that these are laws of, `countable` says whether expectation maximisation can
    move all parameters: they are log-probabilities of outcomes, which it counts, or those of `Moments`.
    """

    models: ClassVar[tuple[str, ...]]
    countable: ClassVar[bool] = True

    def __init__(self, data: DataSpec, leaves: int, units: int) -> None:
        super().__init__()
        self.leaves, self.units = leaves, units
        if data.support not in self.models:
            raise ConfigError(
                Problem(
                    f"{type(self).__name__} is a law of {' or '.join(self.models)} data, but the data is "
                    f"{data.describe()}: use other leaves, or set data.binarize for grey values"
                )
            )

    @abstractmethod
    def forward(self, x: Tensor, normalise: bool = True) -> Tensor:
        """log p_k(x): x `[leaves, batch]` -> `[leaves, batch, units]`. Without `normalise`, parameters are taken for
        the normalised log-probabilities that they are after `prepare` and under expectation maximisation."""

    def check(self, x: Tensor, observed: Tensor | None) -> None:
        """Refuses what is observed of x `[batch, variables]` where these are no laws of it.

        Raises:
            DataError: naming a value.
        """

    @abstractmethod
    def modes(self) -> tuple[Tensor, Tensor]:
        """The most probable value of each law and its log-probability, `[leaves, units]` each."""

    @abstractmethod
    def draw(self, unit: Tensor) -> Tensor:
        """A value of the law that `unit` `[leaves, batch]` names, of the same shape."""

    @abstractmethod
    def entropy(self) -> Tensor:
        """Of each law in nats, `[leaves, units]`."""

    @abstractmethod
    def start(self, stream: Iterable[Batch], variable: Tensor) -> None:
        """Sets out from the training data; `variable` `[leaves]` is that of each leaf."""

    @abstractmethod
    def normalise_(self) -> None:
        """Brings parameters that stand for log-probabilities to them; no law is changed."""


class Moments(Leaf, ABC):
    """Laws that are no tables of outcomes. Without `normalise` the gradient of log p(x) with respect to `theta`
    `[leaves, statistics, units]` is a law's share of the example times statistics T(x), of which the first is 1; the
    leaf itself turns what expectation maximisation sums of these into parameters."""

    theta: nn.Parameter

    @abstractmethod
    def maximise_(self, statistics: Tensor, lr: float) -> None:
        """Goes a part `lr` of the way, in expected statistics, to the most likely laws, from sums of the shape of
        `theta`. A law that has no share in any example stays as it is."""


class Discrete(Leaf, ABC):
    """Laws of equally spaced values, whose level x is 0 .. levels - 1."""

    def __init__(self, data: DataSpec, leaves: int, units: int) -> None:
        super().__init__(data, leaves, units)
        assert data.levels is not None, "data of levels says how many there are"
        self.levels, self.low, self.step = data.levels, data.low, (data.high - data.low) / (data.levels - 1)

    def check(self, x: Tensor, observed: Tensor | None) -> None:
        if torch.compiler.is_compiling():  # what x holds is not known while tracing
            return
        level = (x - self.low) / self.step
        wrong = (level < -0.25) | (level > self.levels - 0.75) | ((level - level.round()).abs() > 0.25)
        wrong = wrong if observed is None else wrong & observed
        if wrong.any():
            high = self.low + self.step * (self.levels - 1)
            value = float(x[wrong][0])
            raise DataError(
                f"x holds {value:g}, which is none of the {self.levels} levels from {self.low:g} to {high:g}"
            )

    def level(self, x: Tensor) -> Tensor:
        """Level of each value, a whole number of the values' type."""
        return ((x - self.low) / self.step).round()

    def value(self, level: Tensor) -> Tensor:
        """The value of each level."""
        return self.low + self.step * level.to(torch.get_default_dtype())

    def modes(self) -> tuple[Tensor, Tensor]:
        best, level = self.table().max(1)
        return self.value(level), best

    def draw(self, unit: Tensor) -> Tensor:
        row = torch.arange(self.leaves, device=unit.device)[:, None]
        law = self.table().transpose(1, 2)[row, unit]
        return self.value(torch.multinomial(law.exp().flatten(0, 1), 1).view(unit.shape))

    def entropy(self) -> Tensor:
        return torch.special.entr(self.table().exp()).sum(1)

    @abstractmethod
    def table(self) -> Tensor:
        """log p_k of every level, `[leaves, levels, units]`."""


class Indicator(Discrete):
    """The laws that are sure of one level. There are as many units as levels."""

    models = ("binary", "levels")
    sure: Tensor

    def __init__(self, data: DataSpec, leaves: int, units: int) -> None:
        super().__init__(data, leaves, units)
        if units != self.levels:
            raise ConfigError(Problem(f"indicators need as many units as levels: {self.levels} (got {units})"))
        self.register_buffer("sure", torch.eye(self.levels).log(), persistent=False)

    def forward(self, x: Tensor, normalise: bool = True) -> Tensor:
        return self.sure[self.level(x).long()]

    def table(self) -> Tensor:
        return self.sure.expand(self.leaves, -1, -1)

    def start(self, stream: Iterable[Batch], variable: Tensor) -> None:
        """There is nothing to learn."""

    def normalise_(self) -> None:
        """There is nothing to normalise."""


class _Counted(Discrete, ABC):
    """Log p(x) = sum over outcomes o of T_o(x) theta_ok + h(x), with theta the log-probabilities."""

    def __init__(self, data: DataSpec, leaves: int, units: int, outcomes: int) -> None:
        super().__init__(data, leaves, units)
        self.theta = nn.Parameter(torch.randn(leaves, outcomes, units).log_softmax(1))

    def log_probabilities(self, normalise: bool = True) -> Tensor:
        """theta, `[leaves, outcomes, units]`."""
        return self.theta.log_softmax(1) if normalise else self.theta

    @torch.no_grad()
    def start(self, stream: Iterable[Batch], variable: Tensor) -> None:
        """Tilts the training data's law of each variable by the noise that the parameters were made with."""
        counts = torch.zeros(len(variable), self.theta.shape[1], dtype=torch.float64, device=variable.device)
        for batch in stream:
            x = batch.x.flatten(1).T[variable]
            seen = ~x.isnan()
            counts += self.totals(self.level(x.masked_fill(~seen, self.low)), seen)
        laws = ((counts + 1) / (counts + 1).sum(1, keepdim=True)).log()
        self.theta.copy_((self.theta + laws[:, :, None]).log_softmax(1))

    @torch.no_grad()
    def normalise_(self) -> None:
        self.theta.copy_(self.theta.log_softmax(1))

    def totals(self, level: Tensor, seen: Tensor) -> Tensor:
        """The sum of T(x) over the examples that are seen, `[leaves, outcomes]`."""
        return (self.outcomes(level) * seen[..., None]).sum(1)

    @abstractmethod
    def outcomes(self, level: Tensor) -> Tensor:
        """T(x): how often x counts for each outcome, `[leaves, batch, outcomes]`."""


class Bernoulli(_Counted):
    """A probability for each unit; outcomes are 0 and 1."""

    models = ("binary",)

    def __init__(self, data: DataSpec, leaves: int, units: int) -> None:
        super().__init__(data, leaves, units, 2)

    def forward(self, x: Tensor, normalise: bool = True) -> Tensor:
        return self.outcomes(self.level(x)) @ self.log_probabilities(normalise)

    def outcomes(self, level: Tensor) -> Tensor:
        return torch.stack([1 - level, level], dim=-1)

    def table(self) -> Tensor:
        return self.log_probabilities()


class Binomial(_Counted):
    """A probability for each unit, of n = levels - 1 trials; outcomes are failure and success."""

    models = ("binary", "levels")

    def __init__(self, data: DataSpec, leaves: int, units: int) -> None:
        super().__init__(data, leaves, units, 2)

    def forward(self, x: Tensor, normalise: bool = True) -> Tensor:
        level = self.level(x)
        counted = self.outcomes(level) @ self.log_probabilities(normalise)
        return counted + self._log_ways()[level.long()][..., None]

    def outcomes(self, level: Tensor) -> Tensor:
        return torch.stack([self.levels - 1 - level, level], dim=-1)

    def table(self) -> Tensor:
        levels = torch.arange(self.levels).to(self.theta).expand(self.leaves, -1)
        return self.outcomes(levels) @ self.log_probabilities() + self._log_ways()[:, None]

    def _log_ways(self) -> Tensor:
        """log C(n, x) of every level, `[levels]`."""
        x = torch.arange(self.levels).to(self.theta)
        return x[-1:].add(1).lgamma() - x.add(1).lgamma() - (x[-1] - x + 1).lgamma()


class Categorical(_Counted):
    """A probability for each level and unit."""

    models = ("binary", "levels")

    def __init__(self, data: DataSpec, leaves: int, units: int) -> None:
        super().__init__(data, leaves, units, data.levels or 0)
        tilt = torch.randn(leaves, 1, units) * torch.linspace(-2, 2, self.levels)[:, None]
        self.theta = nn.Parameter(tilt.log_softmax(1))

    def forward(self, x: Tensor, normalise: bool = True) -> Tensor:
        rows = torch.arange(self.leaves, device=x.device)[:, None] * self.levels + self.level(x).long()
        return nn.functional.embedding(rows, self.log_probabilities(normalise).flatten(0, 1))

    def totals(self, level: Tensor, seen: Tensor) -> Tensor:
        """As the sum of `outcomes`, without an array of all of them: there may be 256 of every pixel."""
        counts = torch.zeros(len(level), self.levels, device=level.device, dtype=level.dtype)
        return counts.scatter_add_(1, level.long(), seen.to(counts))

    def outcomes(self, level: Tensor) -> Tensor:
        return nn.functional.one_hot(level.long(), self.levels).to(level.dtype)

    def table(self) -> Tensor:
        return self.log_probabilities()
