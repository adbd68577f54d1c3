r"""Numbers that change during training. Lengths are in steps or in epochs; without one, the whole of training.

    linear   v = from + (to - from) t                 cosine   v = to + (from - to) (1 + cos(pi t)) / 2,   0 <= t <= 1
    warmup   v = of min(1, t / length)

Loshchilov and Hutter (2017), SGDR, arXiv:1608.03983 (cosine). Fu et al. (2019), Cyclical Annealing Schedule,
arXiv:1903.10145 (cyclic). Goyal et al. (2017), Accurate, Large Minibatch SGD, arXiv:1706.02677 (warm-up).
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from variata import Clock, ConfigError, Problem, Schedule, Scheduled


class Constant(Schedule):
    """One value."""

    def __init__(self, *, value: float) -> None:
        self.value = value

    def __call__(self, clock: Clock) -> float:
        return self.value


class _Span:
    """A length of training in steps or epochs; neither means all of it."""

    def __init__(self, steps: int | None, epochs: float | None) -> None:
        if steps is not None and epochs is not None:
            raise ConfigError(Problem("says both steps and epochs: keep one"))
        self.steps, self.epochs = steps, epochs

    def fraction(self, clock: Clock) -> float:
        """How much of the span lies behind, from 0."""
        length = self.steps or (self.epochs * clock.steps_per_epoch if self.epochs else clock.total_steps)
        return clock.step / max(length, 1)


class Linear(Schedule):
    """A straight line between two values, and then the second one.

    Args:
        from_, to: the values.
        steps, epochs: how long it takes; by default all of training.
    """

    def __init__(
        self, *, from_: float, to: float, steps: PositiveInt | None = None, epochs: PositiveFloat | None = None
    ) -> None:
        self.first, self.last, self.span = from_, to, _Span(steps, epochs)

    def __call__(self, clock: Clock) -> float:
        return self.first + (self.last - self.first) * min(self.span.fraction(clock), 1.0)


class Cosine(Schedule):
    """Half a cosine between two values, and then the second one. Arguments as for `Linear`."""

    def __init__(
        self, *, from_: float, to: float, steps: PositiveInt | None = None, epochs: PositiveFloat | None = None
    ) -> None:
        self.first, self.last, self.span = from_, to, _Span(steps, epochs)

    def __call__(self, clock: Clock) -> float:
        angle = math.pi * min(self.span.fraction(clock), 1.0)
        return self.last + (self.first - self.last) * (1 + math.cos(angle)) / 2


class Warmup(Schedule):
    """A rise from zero to another value or schedule, which goes on meanwhile: of(t) min(1, t / length).

    Args:
        of: the number or the schedule that is risen to.
        steps, epochs: how long the rise takes.
    """

    def __init__(self, *, of: Scheduled, steps: PositiveInt | None = None, epochs: PositiveFloat | None = None) -> None:
        if steps is None and epochs is None:
            raise ConfigError(Problem("says neither steps nor epochs: set how long the rise takes"))
        self.of, self.span = of, _Span(steps, epochs)

    def __call__(self, clock: Clock) -> float:
        value = self.of(clock) if isinstance(self.of, Schedule) else self.of
        return value * min(self.span.fraction(clock), 1.0)


class Cyclic(Schedule):
    """`cycles` ramps one after another: each rises linearly for the share `ramp` of its length, and then stays.

    Args:
        from_, to: the values at the start and at the end of a ramp.
        cycles: how many; after the last one the value stays at `to`.
        ramp: share of a cycle that rises.
        steps, epochs: length of all cycles together; by default all of training.
    """

    def __init__(
        self,
        *,
        from_: float,
        to: float,
        cycles: PositiveInt = 4,
        ramp: Annotated[float, Field(gt=0, le=1)] = 0.5,
        steps: PositiveInt | None = None,
        epochs: PositiveFloat | None = None,
    ) -> None:
        self.first, self.last, self.cycles, self.ramp, self.span = from_, to, cycles, ramp, _Span(steps, epochs)

    def __call__(self, clock: Clock) -> float:
        done = self.span.fraction(clock)
        if done >= 1:
            return self.last
        within = (done * self.cycles) % 1.0
        return self.first + (self.last - self.first) * min(within / self.ramp, 1.0)
