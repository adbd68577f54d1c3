"""The loop: one function owns a step, and goes through the phases of the loss.

For each phase: loss -> gradients -> clip -> optimiser. Data in memory is indexed by batch, in an order that is a
function of (seed, epoch). Metrics stay tensors and are read once a logging interval.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from .data import Batch, Split, on_device
from .declarations import default
from .errors import ConfigError, DataError, NonFinite, Problem
from .objective import Clock, Now, Objective, Optimizer, Phase, Schedule

_ORDER_STRIDE = 1_000_003
_TRAINING_STREAM = 1 << 32
_VALIDATION_STREAM = 1 << 33


@dataclass(kw_only=True)
class Training:
    """The options under `train`.

    Attributes:
        epochs: how often every training example is seen.
        batch_size: examples in a step; the last batch of an epoch may be smaller.
        optimizer: of every phase that does not bring its own.
        clip: the greatest norm of a phase's gradient; null does not clip.
        log_every: steps between two rows of metrics.jsonl.
        validate_every: epochs between two validations (and one at the end); there is none without a validation split.
        device: "auto" takes a GPU where there is one; else a device as torch names it.
    """

    epochs: PositiveInt = 20
    batch_size: PositiveInt = 100
    optimizer: Optimizer = default("optimizer", "adam")
    clip: PositiveFloat | None = None
    log_every: PositiveInt = 50
    validate_every: PositiveInt = 1
    device: str = "auto"


Row = dict[str, Any]


class Meter:
    """Means of what is logged. Values are kept as they come and read together: nothing is synchronised in between."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}

    def add(self, name: str, value: Tensor, examples: int) -> None:
        """`[batch]` values, or a 0-d mean of `examples` of them."""
        value = value.detach()
        self._values.setdefault(name, []).append(value if value.ndim else value.expand(examples))

    def read(self) -> dict[str, float]:
        """The mean over examples of everything added since the last call."""
        means = {name: float(torch.cat(values).double().mean()) for name, values in self._values.items()}
        self._values.clear()
        return means


def record(meter: Meter, phase: Phase, objective: Objective, total: Tensor, examples: int, several: bool) -> None:
    """Adds a phase's loss and metrics; where there are several phases, each name ends in that of its phase."""
    suffix = f"/{phase.name}" if several else ""
    meter.add(f"loss{suffix}", total, examples)
    for name, value in objective.metrics.items():
        meter.add(name + suffix, value, examples)


class Loop:
    """Trains a model by the phases of its loss.

    Args:
        model, loss: as built and prepared, on one device.
        training: the options.
        train, validation: the splits; `validation` may be empty.
        seed: of the order and of every draw.
    """

    def __init__(self, model: Any, loss: Any, training: Training, train: Split, validation: Split, seed: int) -> None:
        if not len(train):
            raise DataError("there is no training example")
        self.model, self.loss, self.training, self.seed = model, loss, training, seed
        self.train, self.validation = train, validation
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.phases = list(loss.phases(model))
        steps = math.ceil(len(train) / training.batch_size)
        self.clock = Clock(0, steps, steps * training.epochs)
        self.now = Now(self.clock, self.device)
        self.optimizers = [self._optimizer(phase) for phase in self.phases]
        self.meter = Meter()

    def _optimizer(self, phase: Phase) -> tuple[Optimizer, torch.optim.Optimizer]:
        recipe = phase.optimizer or self.training.optimizer
        if not phase.parameters:
            raise ConfigError(Problem(f"phase {phase.name} has no parameter to move", "loss"))
        try:
            return recipe, recipe.build(phase.parameters, self._rate(recipe))
        except ValueError as error:
            where = "train.optimizer" if phase.optimizer is None else "loss"
            raise ConfigError(Problem(f"the optimizer refuses its options: {error}", where)) from error

    def _rate(self, recipe: Optimizer) -> float:
        return recipe.lr(self.clock) if isinstance(recipe.lr, Schedule) else recipe.lr

    @property
    def epoch(self) -> float:
        """Epochs seen so far, with the fraction of the one that is under way."""
        return self.clock.step / self.clock.steps_per_epoch

    def run(self, log: Callable[[Row], None], stepped: Callable[[], None], stopped: Callable[[], bool]) -> bool:
        """Trains to the end, or until `stopped()`.

        Args:
            log: gets each row of metrics.
            stepped: called after each step.
            stopped: asked before each step.

        Returns:
            Whether the end was reached.

        Raises:
            NonFinite: a loss is NaN or infinite; the optimiser was not stepped with it.
        """
        last = self.clock.total_steps
        self.model.train()
        self.loss.train()
        while self.clock.step < last:
            for index in self._order(self.clock.step // self.clock.steps_per_epoch):
                if stopped():
                    return False
                self.step(on_device(self.train.batch(index), self.device))
                within = self.clock.step % self.clock.steps_per_epoch
                if within % self.training.log_every == 0:  # and so at the end of the epoch
                    log(self._row("train", self.meter.read()))
                stepped()
            epoch = self.clock.step // self.clock.steps_per_epoch
            if len(self.validation) and (epoch % self.training.validate_every == 0 or self.clock.step == last):
                log(self._row("validation", self.validate(stopped)))
        return True

    def step(self, batch: Batch) -> None:
        """One step: each phase that is due."""
        several = len(self.phases) > 1
        for phase, (recipe, optimizer) in zip(self.phases, self.optimizers, strict=True):
            if self.clock.step % phase.every:
                continue
            objective = phase.loss(self.model, batch, self.now)
            total = objective.total(phase.reduction)
            if not math.isfinite(total.item()):
                raise NonFinite(self._diagnosis(phase, objective))
            gradients = torch.autograd.grad(total, phase.parameters, allow_unused=True)
            for parameter, gradient in zip(phase.parameters, gradients, strict=True):
                parameter.grad = gradient
            if self.training.clip is not None and phase.clip:
                nn.utils.clip_grad_norm_(phase.parameters, self.training.clip)
            if isinstance(recipe.lr, Schedule):
                for group in optimizer.param_groups:
                    group["lr"] = recipe.lr(self.clock)
            optimizer.step()
            for parameter in phase.parameters:
                parameter.grad = None
            with torch.no_grad():
                for buffer, value in objective.updates:
                    buffer.copy_(value)
            mean = total if phase.reduction == "mean" else objective.total().detach()
            record(self.meter, phase, objective, mean, len(batch), several)
        self.clock = self.clock._replace(step=self.clock.step + 1)
        self.now.advance(self.clock)

    @torch.no_grad()
    def validate(self, stopped: Callable[[], bool] = lambda: False) -> dict[str, float]:
        """The same quantities on the validation split, with the same noise each time; nothing of training is
        changed."""
        meter = Meter()
        self.model.eval()
        self.loss.eval()
        with torch.random.fork_rng():
            torch.manual_seed(self.seed + _VALIDATION_STREAM)
            for batch in self.validation.batches(max(self.training.batch_size, 256)):
                if stopped():
                    break
                placed = on_device(batch, self.device)
                for phase in self.phases:
                    with torch.set_grad_enabled(phase.needs_gradients):
                        objective = phase.loss(self.model, placed, self.now)
                    total = objective.total()
                    record(meter, phase, objective, total, len(batch), len(self.phases) > 1)
        self.model.train()
        self.loss.train()
        return meter.read()

    def _order(self, epoch: int) -> Iterator[Tensor]:
        """The batches that are left of an epoch, as row numbers."""
        generator = torch.Generator().manual_seed(self.seed * _ORDER_STRIDE + epoch)
        order = torch.randperm(len(self.train), generator=generator)
        size = min(self.training.batch_size, len(order))
        done = self.clock.step % self.clock.steps_per_epoch
        return iter(order.split(size)[done:])

    def _row(self, split: str, values: dict[str, float]) -> Row:
        row: Row = {"step": self.clock.step, "epoch": round(self.epoch, 4), "split": split, **values}
        return row if split != "train" else row | {"lr": self.optimizers[0][1].param_groups[0]["lr"]}

    def _diagnosis(self, phase: Phase, objective: Objective) -> str:
        names = [name for name, term in objective.terms.items() if not term.value.isfinite().all()]
        named = [*self.model.named_parameters(), *self.loss.named_parameters()]
        broken = [name for name, value in named if not value.isfinite().all()]
        what = f"term {names[0]}" if names else "the total"
        parameter = f"; the first parameter that is not finite is {broken[0]}" if broken else ""
        return (
            f"step {self.clock.step + 1}, phase {phase.name}: {what} is not finite{parameter}. The step was not taken; "
            "try a smaller learning rate (train.optimizer.lr), or clip gradients (train.clip=1)"
        )


def seed_training(seed: int) -> None:
    """Seeds the draws of training: another stream than that of the weights."""
    torch.manual_seed(seed + _TRAINING_STREAM)


def choose_device(name: str, path: str = "train.device") -> torch.device:
    """The device that the option at `path` names.

    Raises:
        ConfigError: torch knows no such device, or it is not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros((), device=name).item()
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(Problem(f"device {name!r} cannot be used: {reason}", path)) from error


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Lets a first Ctrl-C ask for an end after the step under way; a second one ends at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(signum: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
