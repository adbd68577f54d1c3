"""The loop over steps: each goes through the phases of the loss (`stepping.py`), for batches whose order is a function
of (seed, epoch) (`feeding.py`). Metrics stay tensors and are read once a logging interval. What it is at can be saved
and taken up again exactly (`saving.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint import own_state
from ..data import Batch, Split, Stream, on_device
from ..errors import ConfigError, NonFinite, Problem, suggest
from ..interfaces import Classifier, Loss, Network
from ..objective import Clock, Now, Objective
from ..processes import alone, is_cut, world
from .averages import Averages
from .compiling import CompiledMover, compile_networks
from .faults import diagnosis, out_of_memory
from .feeding import Feed
from .options import Training
from .sharding import views_are_left_alone
from .stepping import Mover, Piece, PlainMover, Taken

_TRAINING_STREAM = 1 << 32
_VALIDATION_STREAM = 1 << 33
_RANK_STRIDE = 1 << 35
_GREATER_IS_BETTER = ("elbo", "reconstruction", "log_likelihood", "pseudo_log_likelihood", "accuracy")

Row = dict[str, Any]


class Meter:
    """Means of what is logged. Values are kept as they come and read together: nothing is synchronised in between."""

    def __init__(self) -> None:
        self.values: dict[str, list[Tensor]] = {}

    def add(self, name: str, value: Tensor, examples: int) -> None:
        """`[batch]` values, or a 0-d mean of `examples` of them."""
        value = value.detach()
        self.values.setdefault(name, []).append(value if value.ndim else value.expand(examples))

    def read(self) -> dict[str, float]:
        """The mean over examples, of all processes, of everything added since the last call."""
        sums = {name: torch.cat(values).double() for name, values in self.values.items()}
        self.values.clear()
        where = world()
        if where.size == 1:
            return {name: float(value.mean()) for name, value in sums.items()}
        means: dict[str, tuple[float, int]] = {}
        for part in where.gather({name: (float(value.sum()), len(value)) for name, value in sums.items()}):
            for name, (total, count) in part.items():
                before = means.get(name, (0.0, 0))
                means[name] = before[0] + total, before[1] + count
        return {name: total / count for name, (total, count) in means.items() if count}


class Loop:
    """Trains a model by the phases of its loss.

    Args:
        model, loss: as built and prepared, on one device.
        training: the options.
        train, validation: the splits; `validation` may be empty.
        seed: of the order and of every draw.
    """

    def __init__(self, model: Any, loss: Any, training: Training, train: Split, validation: Split, seed: int) -> None:
        self.model, self.loss, self.training, self.seed = model, loss, training, seed
        self.train, self.validation, self.world = train, validation, world()
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        labelled = _labelled_batch(model, train, training)
        self.feed = Feed(train, training.batch_size, seed, self.world, self.device, training.workers, labelled)
        self.phases = list(loss.phases(model))
        steps = self.feed.steps_per_epoch
        self.clock = Clock(0, steps, training.steps or steps * training.epochs)
        self.now = Now(self.clock, self.device)
        _check_coupling(model, loss, self)
        for name in ("patience", "keep_best"):
            if getattr(training, name) and not len(validation):
                raise ConfigError(Problem("looks at validations, and there is no validation split", f"train.{name}"))
        everything = list(dict.fromkeys([*model.parameters(), *loss.parameters()]))
        self.is_cut = any(is_cut(parameter) for parameter in everything)
        kind = CompiledMover if training.compile == "step" else PlainMover
        self.movers = [
            kind(
                phase,
                phase.optimizer or training.optimizer,
                self.clock,
                self.device,
                precision=training.precision,
                clip=training.clip,
                clip_value=training.clip_value,
                where="train.optimizer" if phase.optimizer is None else "loss",
                parameters=everything,
            )
            for phase in self.phases
        ]
        if training.compile == "model":
            compile_networks(model, loss)
        self.averages = None if training.ema is None else Averages(model, training.ema)
        buffers = dict(loss.named_buffers())
        self.local = {name: buffers[name] for name in _per_process(loss)}
        self._local_ids = {id(buffer) for buffer in self.local.values()}
        self.meter = Meter()
        self.skipped = 0
        self.validated = 0
        self.best: tuple[float, int] | None = None
        self.waited = 0
        self.seconds_before = 0.0
        self._started = self._saved = time.monotonic()
        self.generator: Tensor | None = None

    @property
    def epoch(self) -> float:
        """Epochs seen so far, with the fraction of the one that is under way."""
        return self.clock.step / self.clock.steps_per_epoch

    @property
    def seconds(self) -> float:
        """Seconds of training, with those before a resume."""
        return self.seconds_before + time.monotonic() - self._started

    def run(
        self,
        log: Callable[[Row], None],
        stepped: Callable[[], None] = lambda: None,
        stopped: Callable[[], bool] = lambda: False,
        save: Callable[[], None] = lambda: None,
    ) -> bool:
        """Trains to the end, or until `stopped()`.

        Args:
            log: gets each row of metrics.
            stepped: called after each step.
            stopped: asked after each step.
            save: called where a checkpoint is due.

        Returns:
            Whether the end was reached.

        Raises:
            NonFinite: a loss or a gradient is NaN or infinite; the optimiser was not stepped with it.
        """
        self.model.train()
        self.loss.train()
        self._started = self._saved = time.monotonic()
        if self._validation_is_due() and self.validated != self.clock.step:  # it was cut short before a resume
            self._validate(log, stopped)
        for batch, share, of in self.feed.batches(self.clock.step, self.clock.total_steps):
            self.step(batch, share, of)
            ends = self.clock.step == self.clock.total_steps
            within = self.clock.step % self.clock.steps_per_epoch
            if within % self.training.log_every == 0 or ends:  # and so at the end of the epoch
                log(self._row("train", self.meter.read()))
            stepped()
            best = self._validate(log, stopped) if self._validation_is_due() else False
            stop, due, late = self._agreed(stopped(), self._checkpoint_is_due(), self._is_late())
            if due or stop or (best and self.training.keep_best):
                save()
                self._saved = time.monotonic()
            if stop:
                return False
            if late or self._is_impatient():
                self._end_early(log, stopped)
                break
        return True

    def step(self, batch: Batch, share: int | None = None, of: int | None = None) -> None:
        """One step: each phase that is due.

        Args:
            batch: this process's part of it.
            share: how many of its examples count; all by default.
            of: how many examples the step has, over all processes.
        """
        share = len(batch) if share is None else share
        of = share if of is None else of
        pieces = self._pieces(batch, share)
        for mover in self.movers:
            if mover.phase.is_due(self.clock):
                self._begin(mover)
                self.generator = torch.get_rng_state()
                try:
                    taken = mover.take(self.model, pieces, of, self.now, self.world, self._local_ids)
                except (RuntimeError, MemoryError) as error:
                    raise out_of_memory(error, len(batch), self.training) or error from error
                if not taken.finite:
                    self._not_finite(mover, taken, batch)
                self._record(mover, taken)
        self.clock = self.clock._replace(step=self.clock.step + 1)
        self.now.advance(self.clock)
        if self.averages is not None:
            self.averages.update(self.clock.step)

    def _begin(self, mover: Mover) -> None:
        """What a phase does before it is first taken, on the first process, whose state all take."""
        if mover.phase.begin is None or mover.phase.own(self.clock).step:
            return
        if self.world.first:
            with alone():
                mover.phase.begin(Stream(self.train, 1000, self.device))
        for module in (self.model, self.loss):
            self.world.broadcast(list(own_state(module).values()))

    @torch.no_grad()
    def validate(self, stopped: Callable[[], bool] = lambda: False) -> dict[str, float]:
        """The same quantities on the validation split, with the same noise each time, and with the averaged weights
        where there are any; nothing of training is changed. Each example is seen by one process."""
        meter = Meter()
        self.model.eval()
        self.loss.eval()
        size = max(self.training.batch_size, 256)
        count, turns = math.ceil(len(self.validation) / size), range(self.world.rank, 1 << 40, self.world.size)
        averaged = self.averages.in_place() if self.averages else nullcontext()
        with torch.random.fork_rng(), averaged, views_are_left_alone():
            for _, turn in zip(range(math.ceil(count / self.world.size)), turns, strict=False):
                # Where weights are cut, all processes run the networks equally often.
                number = turn % count
                if (turn >= count and not self.is_cut) or (self.world.size == 1 and stopped()):
                    break
                torch.manual_seed(self.seed + _VALIDATION_STREAM + number)
                rows = torch.arange(number * size, min((number + 1) * size, len(self.validation)))
                batch = on_device(self.validation.batch(rows), self.device)
                for mover in self.movers:
                    with torch.set_grad_enabled(mover.phase.needs_gradients), mover.autocast():
                        objective = mover.phase.loss(self.model, batch, self.now)
                        total = mover.mean(objective.total(mover.phase.reduction), len(batch))
                    if turn < count:
                        self._add(meter, mover, objective, total, len(batch))
        self.model.train()
        self.loss.train()
        return meter.read()

    def _end_early(self, log: Callable[[Row], None], stopped: Callable[[], bool]) -> None:
        """What the last rows would have said, where training ends before its last step."""
        if values := self.meter.read():
            log(self._row("train", values))
        if len(self.validation) and self.validated != self.clock.step:
            self._validate(log, stopped)

    def _validate(self, log: Callable[[Row], None], stopped: Callable[[], bool]) -> bool:
        """Logs a validation; whether it was the best one so far. What was cut short is not kept."""
        values = self.validate(stopped)
        if self._agreed(stopped())[0]:
            return False
        self.validated = self.clock.step
        log(self._row("validation", values))
        return self._judge(values)

    def _judge(self, values: dict[str, float]) -> bool:
        """Whether a validation is the best so far. While a warm-up still changes what is minimised, none is."""
        training = self.training
        if training.patience is None and not training.keep_best:
            return False
        if training.monitor not in values:
            message = f"no validation has {training.monitor!r}{suggest(training.monitor, values)}"
            raise ConfigError(Problem(message, "train.monitor"))
        if not self.now.settled:
            return False
        greater = training.monitor.partition("/")[0] in _GREATER_IS_BETTER
        value = values[training.monitor] if greater else -values[training.monitor]
        if self.best is None or value > self.best[0]:
            self.best, self.waited = (value, self.clock.step), 0
            return True
        self.waited += 1
        return False

    def _is_impatient(self) -> bool:
        return self.training.patience is not None and self.waited >= self.training.patience

    def _is_late(self) -> bool:
        return self.training.max_time is not None and self.seconds >= self.training.max_time

    def _checkpoint_is_due(self) -> bool:
        every = self.training.checkpoint_every
        by_time = time.monotonic() - self._saved >= 60 * self.training.checkpoint_minutes
        return by_time or (every is not None and self.clock.step % every == 0)

    def _validation_is_due(self) -> bool:
        if not len(self.validation) or not self.clock.step:
            return False
        if self.training.validate_steps is not None:
            return self.clock.step % self.training.validate_steps == 0 or self.clock.step == self.clock.total_steps
        epoch, within = divmod(self.clock.step, self.clock.steps_per_epoch)
        return self.clock.step == self.clock.total_steps or (not within and epoch % self.training.validate_every == 0)

    def _agreed(self, *wishes: bool) -> tuple[bool, ...]:
        """What any process wishes, all do."""
        if self.world.size == 1:
            return wishes
        return tuple(bool(w) for w in self.world.sum(torch.tensor(wishes, dtype=torch.float32, device=self.device)))

    def _pieces(self, batch: Batch, share: int) -> list[Piece]:
        count = min(self.training.accumulate, len(batch))
        if count == 1:
            return [Piece(batch, share)]
        rows = torch.arange(len(batch), device=batch.x.device).tensor_split(count)
        return [Piece(batch.take(part), len(part) if share else 0) for part in rows]

    def _record(self, mover: Mover, taken: Taken) -> None:
        """Adds a phase's loss and metrics."""
        assert taken.mean is not None
        for piece, objective in taken.objectives:
            if piece.share:
                self._add(self.meter, mover, objective, taken.mean, piece.share)

    def _add(self, meter: Meter, mover: Mover, objective: Objective, total: Tensor, examples: int) -> None:
        """Where there are several phases, each name ends in that of its phase."""
        suffix = f"/{mover.phase.name}" if len(self.movers) > 1 else ""
        meter.add(f"loss{suffix}", total, examples)
        for name, value in objective.metrics.items():
            meter.add(name + suffix, value, examples)

    def _not_finite(self, mover: Mover, taken: Taken, batch: Batch) -> None:
        if self.training.on_nonfinite == "skip":
            self.skipped += 1
            return
        message = diagnosis(self.model, self.loss, mover.phase, taken, self.clock.step + 1)
        raise NonFinite(message, phase=mover.phase.name, batch=batch)

    def _row(self, split: str, values: dict[str, float]) -> Row:
        row: Row = {"step": self.clock.step, "epoch": round(self.epoch, 4), "split": split, **values}
        if split != "train":
            return row
        skipped = {"skipped": self.skipped} if self.skipped else {}
        last = self.clock._replace(step=self.clock.step - 1)
        mover = next((m for m in self.movers if m.phase.is_under_way(last)), self.movers[0])
        return row | {"lr": mover.optimizer.param_groups[0]["lr"]} | skipped


def _losses(loss: nn.Module) -> list[tuple[str, Loss]]:
    """Every loss within a loss, itself included, with the prefix of its names."""
    return [(f"{name}." if name else "", part) for name, part in loss.named_modules() if isinstance(part, Loss)]


def _per_process(loss: nn.Module) -> list[str]:
    return [prefix + name for prefix, part in _losses(loss) for name in part.per_process]


def _labelled_batch(model: Any, train: Split, training: Training) -> int:
    """How many labelled examples stand before the others in each batch."""
    asked = training.labelled_batch
    if train.labelled is None:
        if asked:
            message = "is for data of which some is labelled: set data.labels, or remove it"
            raise ConfigError(Problem(message, "train.labelled_batch"))
        return 0
    if asked is None:
        return min(training.batch_size, len(train.labelled_rows())) if isinstance(model, Classifier) else 0
    return asked


def _check_coupling(model: nn.Module, loss: Any, loop: Loop) -> None:
    """A batch whose examples depend on one another can be cut by what gathers it alone."""
    processes, pieces = loop.world.size, loop.training.accumulate
    if processes == 1 and pieces == 1:
        return
    parts = [*model.named_modules(), *loss.named_modules()]
    normed = [name for name, part in parts if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    normed += [name for name, part in parts if isinstance(part, Network) and part.couples_batch]
    coupled = [part for _, part in _losses(loss) if part.couples_batch]
    what = f"batch normalisation ({normed[0]})" if normed else f"{type(coupled[0]).__name__}" if coupled else ""
    remedy = "normalise by layers or groups, or " if normed else ""
    if what and pieces > 1:
        message = f"{what} couples the examples of a batch, so it cannot be cut: {remedy}set train.accumulate=1"
        raise ConfigError(Problem(message, "train.accumulate"))
    if normed or any(not part.gathers for part in coupled):
        message = f"{what} couples the examples of a batch and does not gather them: {remedy}train in one process"
        raise ConfigError(Problem(message, "train.devices"))
    if coupled and processes > 1 and loop.feed.smallest < processes:
        message = f"the last batch of an epoch has {loop.feed.smallest} examples for {processes} processes"
        raise ConfigError(Problem(f"{message}: choose another one", "train.batch_size"))


def seed_training(seed: int) -> None:
    """Seeds the draws of training: another stream than that of the weights, and one for each process."""
    torch.manual_seed(seed + _TRAINING_STREAM + world().rank * _RANK_STRIDE)
