"""How one phase is taken: losses of the pieces of a batch -> one gradient over pieces and processes -> a check that it
is finite -> clip -> optimiser -> what moves without a gradient."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..data import Batch
from ..errors import ConfigError, Problem
from ..objective import Clock, Now, Objective, Optimizer, Phase, Schedule
from ..processes import World, gathering, is_cut, local
from .sharding import views_are_left_alone

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Piece:
    """A part of the batch of a step, which goes through the loss at once.

    Attributes:
        batch: its examples.
        share: how many of them count: all, or none where this process had none of a small batch left and takes one
            so that all processes do the same.
    """

    batch: Batch
    share: int


@dataclass
class Taken:
    """What one phase came to.

    Attributes:
        objectives: of each piece, with the piece.
        total: what was minimised, over all pieces and processes; `mean` is the same as a mean over examples.
        gradients: kept where one is not finite.
        finite: whether every loss and the gradient are; else nothing was moved.
        accepted: whether the optimiser took the step.
    """

    objectives: list[tuple[Piece, Objective]] = field(default_factory=list)
    total: Tensor | None = None
    mean: Tensor | None = None
    gradients: Sequence[Tensor | None] = ()
    finite: bool = True
    accepted: bool = True


class Mover(ABC):
    """A phase with what moves its parameters.

    Args:
        recipe: the optimiser, as the phase or `train.optimizer` names it.
        precision: "fp32", "bf16" or "fp16".
        clip, clip_value: of the gradient; None does not clip.
        where: the path of the optimiser in the specification, for messages.
        parameters: every parameter there is, of which the phase moves its own.
    """

    def __init__(
        self,
        phase: Phase,
        recipe: Optimizer,
        clock: Clock,
        device: torch.device,
        *,
        precision: str = "fp32",
        clip: float | None = None,
        clip_value: float | None = None,
        where: str = "loss",
        parameters: Sequence[nn.Parameter] = (),
    ) -> None:
        if not phase.parameters:
            raise ConfigError(Problem(f"phase {phase.name} has no parameter to move, or all are frozen", "loss"))
        self.phase, self.recipe, self.device = phase, recipe, device
        self.clip, self.clip_value = (clip, clip_value) if phase.clip else (None, None)
        self.parameters = parameters
        self.is_cut = any(is_cut(parameter) for parameter in phase.parameters)
        # Of what is cut, the optimiser moves this process's part.
        self.moved: Sequence[Any] = [local(p).detach() if is_cut(p) else p for p in phase.parameters]
        try:
            self.optimizer = recipe.build(self.moved, self.rate(clock))
        except ValueError as error:
            raise ConfigError(Problem(f"the optimizer refuses its options: {error}", where)) from error
        self.dtype = PRECISIONS.get(precision) if phase.autocast else None
        self._found = torch.zeros((), dtype=torch.float32, device=device)
        self._one = torch.ones_like(self._found)
        self.scaler = torch.amp.GradScaler(device.type) if self.dtype is torch.float16 else None
        if self.scaler is not None and self.is_cut:
            raise ConfigError(Problem("fp16 is not for weights that are cut: use bf16", "train.precision"))

    def rate(self, clock: Clock) -> float:
        """The learning rate at a moment."""
        if not isinstance(self.recipe.lr, Schedule):
            return self.recipe.lr
        own = self.phase.own(clock)
        return self.recipe.lr(own._replace(step=max(0, own.step)))

    def set_rate(self, clock: Clock) -> None:
        """Gives the optimiser the learning rate of a moment, where it changes."""
        if isinstance(self.recipe.lr, Schedule):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(clock)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision that the whole loss is computed in."""
        return nullcontext() if self.dtype is None else torch.autocast(self.device.type, self.dtype)

    @abstractmethod
    def take(self, model: nn.Module, pieces: Sequence[Piece], of: int, now: Now, world: World, own: set[int]) -> Taken:
        """One step of the phase.

        Args:
            pieces: this process's part of the batch.
            of: how many examples the batch has, over all processes.
            own: the `id` of each buffer that every process has its own of.
        """

    def take_as_written(
        self, model: nn.Module, pieces: Sequence[Piece], of: int, now: Now, world: World, own: set[int]
    ) -> Taken:
        """One step, operation by operation."""
        taken = Taken()
        if self.is_cut:
            gradients = self._gradients_of_shards(model, pieces, of, now, world, taken)
        elif len(pieces) == 1 and world.size == 1:
            gradients = self._gradients_at_once(model, pieces[0], now, taken)
        else:
            gradients = self._gradients_of_pieces(model, pieces, of, now, world, taken)
        # Those of a sum over a parameter are one number seen many times: nothing could be written there.
        gradients = [None if g is None else g.contiguous() for g in gradients]
        for parameter, gradient in zip(self.moved, gradients, strict=True):
            parameter.grad = gradient
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        assert taken.total is not None
        present = [gradient for gradient in gradients if gradient is not None]
        sound = self._agreed(_all_finite(present, self._found, self._one), world)
        # What overflows in half precision is the scaler's to mend, by a smaller scale.
        taken.finite = math.isfinite(taken.total.item()) and (sound or self.scaler is not None)
        if not taken.finite:
            taken.gradients = gradients
        else:
            if sound:
                self._clip(world)
            self.set_rate(now.clock)
            self._move()
            taken.accepted = sound
        for parameter in self.moved:
            parameter.grad = None
        if taken.finite and taken.accepted:
            commit([(piece.share, objective) for piece, objective in taken.objectives], of, world, own)
        return taken

    def _gradients_at_once(self, model: nn.Module, piece: Piece, now: Now, taken: Taken) -> Sequence[Tensor | None]:
        with self.autocast():
            objective = self.phase.loss(model, piece.batch, now)
            total = objective.total(self.phase.reduction)
        taken.objectives.append((piece, objective))
        taken.total = total
        taken.mean = self.mean(total, len(piece.batch))
        return torch.autograd.grad(self._scaled(total), self.phase.parameters, allow_unused=True)

    def _gradients_of_pieces(
        self, model: nn.Module, pieces: Sequence[Piece], of: int, now: Now, world: World, taken: Taken
    ) -> Sequence[Tensor | None]:
        """Every piece's gradient is added up, and that of a weighted term apart, since it is divided by a sum of
        weights that is known at the end."""
        parameters = self.phase.parameters
        sums: dict[str, Sums] = {}
        for piece in pieces:
            with self.autocast(), gathering():
                objective = self.phase.loss(model, piece.batch, now)
                portions = objective.portion(piece.share, of, self.phase.reduction)
            for position, (name, (value, weight)) in enumerate(portions.items()):
                if not piece.share:
                    value, weight = value * 0, None if weight is None else weight * 0
                keep = position + 1 < len(portions)
                gradients = torch.autograd.grad(self._scaled(value), parameters, allow_unused=True, retain_graph=keep)
                sums.setdefault(name, Sums(parameters)).add(gradients, value.detach(), weight)
            taken.objectives.append((piece, objective.detached()))
        gradients: Sequence[Tensor | None] = [None] * len(parameters)
        totals: list[Tensor] = []
        for name in sums:
            more, value = sums[name].reduced(world)
            totals.append(value)
            gradients = [b if a is None else a if b is None else a + b for a, b in zip(gradients, more, strict=True)]
        taken.total = torch.stack(totals).sum()
        taken.mean = self.mean(taken.total, of)
        return gradients

    def _gradients_of_shards(
        self, model: nn.Module, pieces: Sequence[Piece], of: int, now: Now, world: World, taken: Taken
    ) -> Sequence[Tensor | None]:
        """Of what is cut: gradients are added up by `backward`, which also brings them to the process that holds the
        part."""
        total: Tensor | None = None
        for parameter in self.parameters:
            parameter.grad = None
        for piece in pieces:
            with self.autocast(), gathering(), views_are_left_alone():
                objective = self.phase.loss(model, piece.batch, now)
                portions = objective.portion(piece.share, of, self.phase.reduction)
            values = []
            for value, weight in portions.values():
                if weight is not None:
                    if len(pieces) > 1:
                        message = "weighted terms of weights that are cut need a batch in one piece: set it to 1"
                        raise ConfigError(Problem(message, "train.accumulate"))
                    weight = world.sum(weight if piece.share else weight * 0)
                    value = value / torch.where(weight == 0, torch.ones_like(weight), weight)
                values.append(value if piece.share else value * 0)
            here = torch.stack(values).sum()
            here.backward()
            total = here.detach() if total is None else total + here.detach()
            taken.objectives.append((piece, objective.detached()))
        assert total is not None
        # Those of what is cut are summed over processes already; those of what is whole are not, nor is the total.
        uncut = [p for p in self.phase.parameters if not is_cut(p)]
        sums = Sums(uncut)
        sums.add([p.grad for p in uncut], total, None)
        summed, taken.total = sums.reduced(world)
        of_uncut = dict(zip(map(id, uncut), summed, strict=True))
        gradients = [
            of_uncut[id(p)] if id(p) in of_uncut else None if p.grad is None else local(p.grad)
            for p in self.phase.parameters
        ]
        for parameter in self.parameters:
            parameter.grad = None
        taken.mean = self.mean(taken.total, of)
        return gradients

    def _agreed(self, sound: bool, world: World) -> bool:
        """Of what is cut, each process has seen its own part of the gradient."""
        if not self.is_cut:
            return sound
        return not world.sum(torch.tensor(float(not sound), device=self.device)).item()

    def _norm(self, world: World) -> Tensor:
        """Of the gradient."""
        squares = {True: torch.zeros((), device=self.device), False: torch.zeros((), device=self.device)}
        for parameter, part in zip(self.phase.parameters, self.moved, strict=True):
            if part.grad is not None:
                squares[is_cut(parameter)] = squares[is_cut(parameter)] + part.grad.float().square().sum()
        return (world.sum(squares[True]) + squares[False]).sqrt()

    def mean(self, total: Tensor, examples: int) -> Tensor:
        """What is logged of a total: the mean over examples."""
        return total if self.phase.reduction == "mean" else total / examples

    def _scaled(self, value: Tensor) -> Tensor:
        return value if self.scaler is None else self.scaler.scale(value)  # pyright: ignore[reportReturnType]

    def _clip(self, world: World) -> None:
        present = [part.grad for part in self.moved if part.grad is not None]
        if self.clip is not None:
            norm = self._norm(world) if self.is_cut else nn.utils.get_total_norm(present)
            nn.utils.clip_grads_with_norm_(self.moved, self.clip, norm)
        if self.clip_value is not None:
            for gradient in present:
                gradient.clamp_(-self.clip_value, self.clip_value)

    def _move(self) -> None:
        """Takes the step; a scaler passes over one that overflowed."""
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()


class PlainMover(Mover):
    """Takes its phase operation by operation."""

    def take(self, model: nn.Module, pieces: Sequence[Piece], of: int, now: Now, world: World, own: set[int]) -> Taken:
        return self.take_as_written(model, pieces, of, now, world, own)


def _all_finite(gradients: list[Tensor], found: Tensor, one: Tensor) -> bool:
    """One pass over everything; that of mixed precision is the only one that torch has for it. `found` stays zero where
    all are finite."""
    if not gradients:
        return True
    torch._amp_foreach_non_finite_check_and_unscale_(  # pyright: ignore[reportPrivateImportUsage]
        gradients, found, one
    )
    if finite := not found.item():
        return finite
    found.zero_()
    return finite


class Sums:
    """Gradients of one kind, added up over pieces, and then over processes in one flat tensor."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        self.gradients: list[Tensor | None] = [None] * len(parameters)
        self.value: Tensor | None = None
        self.weight: Tensor | None = None

    def add(self, gradients: Sequence[Tensor | None], value: Tensor, weight: Tensor | None) -> None:
        """One piece's."""
        for position, gradient in enumerate(gradients):
            if gradient is not None:
                before = self.gradients[position]
                self.gradients[position] = gradient if before is None else before.add_(gradient)
        self.value = value.clone() if self.value is None else self.value + value
        self.weight = weight if self.weight is None or weight is None else self.weight + weight

    def reduced(self, world: World) -> tuple[list[Tensor | None], Tensor]:
        """The gradients and the value, over all processes and divided by the sum of weights where there is one. A
        parameter that no process's loss depends on has none."""
        assert self.value is not None
        value, weight, gradients = self.value, self.weight, self.gradients
        if world.size > 1:
            device, present = value.device, [float(g is not None) for g in gradients]
            parts = [
                torch.zeros_like(p).flatten() if g is None else g.flatten()
                for p, g in zip(self.parameters, gradients, strict=True)
            ]
            ones = torch.ones((), device=device) if weight is None else weight
            extra = torch.cat([value.reshape(1), ones.reshape(1).to(value), torch.tensor(present, device=device)])
            flat = world.sum(torch.cat([*parts, extra.to(parts[0].dtype) if parts else extra]))
            sizes = [part.numel() for part in parts]
            *summed, value, ones, there = flat.split([*sizes, 1, 1, len(parts)])
            value, weight = value[0], None if weight is None else ones[0]
            gradients = [
                part.view_as(p) if known else None
                for part, p, known in zip(summed, self.parameters, there.tolist(), strict=True)
            ]
        if weight is None:
            return list(gradients), value
        divisor = torch.where(weight == 0, torch.ones_like(weight), weight)
        return [None if g is None else g / divisor for g in gradients], value / divisor


@torch.no_grad()
def commit(objectives: Sequence[tuple[int, Objective]], of: int, world: World, own: set[int]) -> None:
    """Moves what the objectives of an accepted step move without a gradient. Statistics of several pieces are averaged
    by their shares, over processes too; chains, of which each process has its own, go on with the last piece's."""
    if len(objectives) == 1 and world.size == 1:
        for buffer, value in objectives[0][1].updates:
            buffer.copy_(value)
        return
    means: dict[int, tuple[Tensor, Tensor]] = {}
    for share, objective in objectives:
        for buffer, value in objective.updates:
            if id(buffer) in own:
                buffer.copy_(value)
                continue
            weighted = value.double() * (share / of)
            before = means.get(id(buffer))
            means[id(buffer)] = buffer, weighted if before is None else before[1] + weighted
    for buffer, mean in means.values():
        world.sum(mean)
        buffer.copy_(mean if buffer.is_floating_point() else mean.round())
