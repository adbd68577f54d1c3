"""Compiled training: each network (`train.compile: model`), or a whole step of a phase in one graph (`step`): loss,
gradients, check, clipping and the optimiser's update, so that little is left of what Python costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..data import Batch
from ..errors import ConfigError, Problem, Unsupported
from ..interfaces import Network
from ..objective import Now, Objective, Term
from ..processes import World
from .stepping import Mover, Piece, Taken


def compile_networks(*modules: nn.Module) -> None:
    """Compiles the outermost networks of models and losses; conditionals stay as they are, since what they return are
    distributions."""
    for module in modules:
        for child in module.children():
            if isinstance(child, Network):
                child.compile()
            else:
                compile_networks(child)


class CompiledMover(Mover):
    """Takes its phase in one graph, with the numbers of `Mover`. The last batch of an epoch, where it is smaller, is
    taken as it is written."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.scaler is not None:
            raise ConfigError(Problem("fp16 scales its steps, which are not compiled: use bf16", "train.precision"))
        try:
            self._update = self.recipe.functional(self.optimizer)
        except Unsupported as error:
            raise ConfigError(Problem(str(error), "train.compile")) from error
        self._lr = torch.zeros((), device=self.device)
        self._compiled: Callable[..., Any] | None = None
        self._size = 0

    def take(self, model: nn.Module, pieces: Sequence[Piece], of: int, now: Now, world: World, own: set[int]) -> Taken:
        if world.size > 1 or len(pieces) > 1:
            raise ConfigError(Problem("a step is compiled for one process and one piece of a batch", "train.compile"))
        (piece,) = pieces
        batch = piece.batch
        if len(batch) < self._size:
            return self.take_as_written(model, pieces, of, now, world, own)
        self._lr.fill_(self.rate(now.clock))
        if self._compiled is None:
            self._size = len(batch)
            self._compiled = self._compile(model, batch, now)
            with _tracing():  # the first call makes the graph
                finite, total, mean, values, metrics = self._compiled(batch.x, batch.y)
        else:
            finite, total, mean, values, metrics = self._compiled(batch.x, batch.y)
        objective = Objective({name: Term(value) for name, value in values.items()}, metrics)
        return Taken([(piece, objective)], total, mean, finite=bool(finite))

    def _compile(self, model: nn.Module, batch: Batch, now: Now) -> Callable[..., Any]:
        phase, parameters = self.phase, list(self.phase.parameters)
        with torch.random.fork_rng(), torch.set_grad_enabled(phase.needs_gradients), self.autocast():
            phase.loss(model, batch, now)  # makes the tensors that hold scheduled values, which a graph only reads

        def step(x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor], dict[str, Tensor]]:
            with self.autocast():
                objective = phase.loss(model, Batch(x, y), now)
                total = objective.total(phase.reduction)
            gradients = torch.autograd.grad(total, parameters, allow_unused=True)
            with torch.no_grad():
                present = [gradient for gradient in gradients if gradient is not None]
                norm = torch.stack([gradient.square().sum() for gradient in present]).sum().sqrt()
                finite = total.isfinite() & norm.isfinite()
                self._update(self._clipped(gradients, norm), self._lr, finite)
                for buffer, value in objective.updates:
                    buffer.copy_(torch.where(finite, value, buffer))
                mean = self.mean(total, len(x))
            values = {name: term.value.detach() for name, term in objective.terms.items()}
            metrics = {name: value.detach() for name, value in objective.metrics.items()}
            return finite, total.detach(), mean.detach(), values, metrics

        mode = "reduce-overhead" if self.device.type == "cuda" else None
        return torch.compile(step, fullgraph=True, dynamic=False, mode=mode)

    def _clipped(self, gradients: Sequence[Tensor | None], norm: Tensor) -> list[Tensor | None]:
        if self.clip is not None:
            scale = (self.clip / (norm + 1e-6)).clamp(max=1.0)
            gradients = [None if g is None else g * scale for g in gradients]
        if self.clip_value is not None:
            gradients = [None if g is None else g.clamp(-self.clip_value, self.clip_value) for g in gradients]
        return list(gradients)


@contextmanager
def _tracing() -> Iterator[None]:
    """`autograd.grad` is traced within a step alone: with that flag set for everything, a compiled `backward` would
    train nothing, silently. Draws are torch's own, as without a graph."""
    import torch._dynamo.config as dynamo
    import torch._inductor.config as inductor

    with dynamo.patch(trace_autograd_ops=True), inductor.patch(fallback_random=True):
        yield
