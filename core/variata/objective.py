"""What one step of training minimises, and the moment at which it does: phases, objectives, schedules, optimisers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from pydantic import FiniteFloat
from torch import Tensor, nn

from .data import Batch
from .errors import Unsupported


class Clock(NamedTuple):
    """How far training has come, in optimiser steps."""

    step: int
    steps_per_epoch: int
    total_steps: int


class Schedule(ABC):
    """A number that depends on how far training has come."""

    @abstractmethod
    def __call__(self, clock: Clock) -> float:
        """The value at this moment."""


Reduction = Literal["mean", "sum"]

Scheduled = FiniteFloat | Schedule
"""An option that may be a number or a schedule; `now(option)` gives its value."""


Update = Callable[[Sequence[Tensor | None], Tensor, Tensor], None]
"""(gradients, learning rate, accepted): moves parameters and state where `accepted`, a 0-d boolean, is true."""


class Optimizer(ABC):
    """Makes a `torch.optim.Optimizer` for each phase. `lr` may be scheduled; the engine sets it before each step."""

    lr: Scheduled

    @abstractmethod
    def build(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        """An optimiser of these parameters, starting at the learning rate `lr`."""

    def functional(self, optimizer: torch.optim.Optimizer) -> Update:
        """The step of what `build` gave as a function that can be traced into a graph (`train.compile: step`). It moves
        the parameters and the optimiser's own state in place.

        Raises:
            Unsupported: there is no such form.
        """
        raise Unsupported(
            f"{type(self).__name__} has no form that a whole step can be compiled with: use adam, adamw or sgd"
        )


class Now:
    """The moment of a training step: `step`, `epoch`, and the value of every scheduled option as a 0-d tensor, so that
    nothing recompiles or freezes in a graph. Outside training, `Now.at_end()` gives every schedule's last value."""

    def __init__(self, clock: Clock, device: torch.device | str = "cpu") -> None:
        self.clock, self.device = clock, device
        self._values: dict[Schedule, Tensor] = {}

    @classmethod
    def at_end(cls, device: torch.device | str = "cpu") -> Now:
        """The moment after training, when warm-ups are over."""
        far = 1 << 62
        return cls(Clock(far, 1, far), device)

    @property
    def step(self) -> int:
        return self.clock.step

    @property
    def epoch(self) -> int:
        return self.clock.step // max(self.clock.steps_per_epoch, 1)

    def __call__(self, option: Scheduled) -> float | Tensor:
        """The value of an option at this moment: a number stays a number, a schedule gives a 0-d tensor."""
        if not isinstance(option, Schedule):
            return option
        if option not in self._values:
            self._values[option] = torch.tensor(option(self.clock), device=self.device)
        return self._values[option]

    @property
    def settled(self) -> bool:
        """Whether every schedule that was asked for has its last value: no warm-up is under way."""
        end = self.clock._replace(step=self.clock.total_steps)
        return all(schedule(self.clock) == schedule(end) for schedule in self._values)

    def advance(self, clock: Clock) -> None:
        """Moves on to another moment; tensors handed out before take the new values."""
        self.clock = clock
        for schedule, value in self._values.items():
            value.fill_(schedule(clock))


@dataclass
class Term:
    """One summand of an objective, in nats: `[batch]`, or 0-d for a value of the whole batch.

    Attributes:
        scale: what multiplies it in the objective (beta), a number or a 0-d tensor.
        weight: `[batch]` weights or mask of the examples; the engine divides by their sum.
    """

    value: Tensor
    scale: float | Tensor = 1.0
    weight: Tensor | None = None


@dataclass
class Objective:
    """What one phase minimises, with what is worth logging beside it.

    Attributes:
        terms: summed to what is minimised.
        metrics: values to log, not minimised: of each example, or of those that a figure speaks of, or 0-d.
        updates: pairs (buffer, new value) of state that moves without a gradient (persistent chains, codebooks). They
            are committed once, after the optimiser has accepted the step.
    """

    terms: Mapping[str, Term]
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    updates: Sequence[tuple[Tensor, Tensor]] = ()

    def total(self, reduction: Reduction = "mean") -> Tensor:
        """The scalar to differentiate: terms of examples are averaged (or summed) with their weights. A term whose
        weights are all zero is zero."""
        total: Tensor | None = None
        examples: Tensor | None = None  # what has a value for each, added up before it is averaged once
        for term in self.terms.values():
            value = term.value
            if value.ndim and term.weight is not None:
                value = _ratio(value, term.weight) if reduction == "mean" else (value * term.weight).sum()
            if not (isinstance(term.scale, float | int) and term.scale == 1):
                value = value * term.scale
            if value.ndim:
                examples = value if examples is None else examples + value
            else:
                total = value if total is None else total + value
        if examples is not None:
            value = examples.mean() if reduction == "mean" else examples.sum()
            total = value if total is None else total + value
        assert total is not None, "an objective needs a term"
        return total

    def detached(self) -> Objective:
        """The same numbers without the graph that they came from."""
        terms = {name: replace(term, value=term.value.detach()) for name, term in self.terms.items()}
        metrics = {name: value.detach() for name, value in self.metrics.items()}
        return Objective(terms, metrics, [(buffer, value.detach()) for buffer, value in self.updates])

    def portion(self, examples: int, of: int, reduction: Reduction) -> dict[str, tuple[Tensor, Tensor | None]]:
        """What these `examples` contribute to the total of the `of` that a step is taken with: the sum of these
        contributions, each divided by the sum of its weights where it has them, is the total.

        Returns:
            "" to everything without weights; the name of each weighted term to its weighted sum and its weights' sum.
        """
        plain: list[Tensor] = []
        found: dict[str, tuple[Tensor, Tensor | None]] = {}
        for name, term in self.terms.items():
            value = term.value
            if value.ndim and term.weight is not None and reduction == "mean":
                found[name] = (value * term.weight).sum() * term.scale, term.weight.sum().detach()
                continue
            if not value.ndim:
                value = value * (examples / of)  # a value of the whole batch counts once, however it is cut
            elif reduction == "mean":
                value = value.sum() / of
            else:
                value = (value if term.weight is None else value * term.weight).sum()
            plain.append(value * term.scale)
        return ({"": (torch.stack(plain).sum(), None)} if plain else {}) | found


def _ratio(value: Tensor, weight: Tensor) -> Tensor:
    total = weight.sum()
    return (value * weight).sum() / torch.where(total == 0, torch.ones_like(total), total)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One move of a training step: what is minimised, and which parameters that moves.

    A VAE has one; a GAN has two. `loss(model, batch, now)` gives the `Objective`.

    Attributes:
        every: take the phase each `every` steps.
        during: the part of training in which it is taken, as shares of all steps: from the first one up to the second.
            The schedule of its optimiser's learning rate runs over that part.
        begin: called once before it is first taken, with a stream of training batches as `Prepares.prepare` is.
        reduction: "mean" over examples, or "sum" (expected counts).
        clip: whether `train.clip` holds for it; expected counts are no direction that could be shortened.
        autocast: whether `train.precision` holds for it; expected counts need all of float32.
        optimizer: its own optimiser; None for that of `train.optimizer`.
        needs_gradients: whether the loss differentiates within itself, as a gradient penalty does: then gradients are
            on in validation too.
    """

    name: str
    loss: Callable[[Any, Batch, Now], Objective]
    parameters: Sequence[nn.Parameter]
    every: int = 1
    during: tuple[float, float] = (0.0, 1.0)
    begin: Callable[[Iterable[Batch]], None] | None = None
    reduction: Reduction = "mean"
    clip: bool = True
    autocast: bool = True
    optimizer: Optimizer | None = None
    needs_gradients: bool = False

    def __post_init__(self) -> None:
        moved = [parameter for parameter in self.parameters if parameter.requires_grad]
        object.__setattr__(self, "parameters", moved)

    def own(self, clock: Clock) -> Clock:
        """The clock of the part of training in which it is taken; its step is below 0 before that."""
        first, last = (round(share * clock.total_steps) for share in self.during)
        return Clock(clock.step - first, clock.steps_per_epoch, last - first)

    def is_under_way(self, clock: Clock) -> bool:
        """Whether this moment is in the part of training in which it is taken; the last part has no end."""
        own = self.own(clock)
        return own.step >= 0 and (self.during[1] >= 1 or own.step < own.total_steps)

    def is_due(self, clock: Clock) -> bool:
        """Whether it is taken in the step that comes now."""
        return self.is_under_way(clock) and self.own(clock).step % self.every == 0
