"""Compiled training: each network (`train.compile: model`), or a whole step of a phase in one graph (`step`): loss,
gradients, check, clipping and the optimiser's update, so that little is left of what Python costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..data import Batch
from ..errors import ConfigError, Problem, Unsupported
from ..interfaces import Network
from ..objective import Now, Objective, Term
from ..processes import World
from .stepping import Mover, Piece, Taken


def compile_networks(*modules: nn.Module) -> None:
    """Compiles the outermost networks of models and losses; conditionals stay as they are, since what they return are
    distributions."""
    with _checks_of_distributions():
        import torch._dynamo  # noqa: F401 -- else the first compiled network imports it, wherever that is

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
        self._lr = torch.zeros((), dtype=torch.float64, device=self.device)
        self._compiled: Callable[..., Any] | None = None
        self._buffers: list[Tensor] = []
        self._size = 0

    def take(self, model: nn.Module, pieces: Sequence[Piece], of: int, now: Now, world: World, own: set[int]) -> Taken:
        if world.size > 1 or len(pieces) > 1:
            raise ConfigError(Problem("a step is compiled for one process and one piece of a batch", "train.compile"))
        (piece,) = pieces
        batch = piece.batch
        if batch.labelled is not None:
            message = "a step is not compiled where some of its examples are labelled: remove it, or set it to model"
            raise ConfigError(Problem(message, "train.compile"))
        if len(batch) < self._size:
            return self.take_as_written(model, pieces, of, now, world, own)
        self._lr.fill_(self.rate(now.clock))
        if self._compiled is None:
            self._size = len(batch)
            with _tracing():  # the first call makes the graph
                self._compiled = self._compile(model, batch, now)
                found = _first_call(self._compiled, batch)
        else:
            found = self._compiled(batch.x, batch.y)
        finite, total, mean, values, metrics, updates = found
        if finite:
            for buffer, value in zip(self._buffers, updates, strict=True):
                buffer.copy_(value)  # not in the graph: there torch 2.13 loses what is written into a float64 number
        objective = Objective({name: Term(value) for name, value in values.items()}, metrics)
        return Taken([(piece, objective)], total, mean, finite=bool(finite))

    def _compile(self, model: nn.Module, batch: Batch, now: Now) -> Callable[..., Any]:
        phase, parameters = self.phase, list(self.phase.parameters)
        with torch.random.fork_rng(), torch.set_grad_enabled(phase.needs_gradients), self.autocast():
            # Also makes the tensors that hold scheduled values, which a graph only reads.
            self._buffers = [buffer for buffer, _ in phase.loss(model, batch, now).updates]

        def step(x: Tensor, y: Tensor | None) -> tuple[Any, ...]:
            with self.autocast():
                objective = phase.loss(model, Batch(x, y), now)
                total = objective.total(phase.reduction)
            gradients = torch.autograd.grad(total, parameters, allow_unused=True)
            with torch.no_grad():
                present = [gradient for gradient in gradients if gradient is not None]
                norm = torch.stack([gradient.square().sum() for gradient in present]).sum().sqrt()
                finite = total.isfinite() & norm.isfinite()
                self._update(self._clipped(gradients, norm), self._lr, finite)
                mean = self.mean(total, len(x))
            values = {name: term.value.detach() for name, term in objective.terms.items()}
            metrics = {name: value.detach() for name, value in objective.metrics.items()}
            updates = [value.detach() for _, value in objective.updates]
            return finite, total.detach(), mean.detach(), values, metrics, updates

        mode = "reduce-overhead" if self.device.type == "cuda" else None
        return torch.compile(step, fullgraph=True, dynamic=False, mode=mode)

    def _clipped(self, gradients: Sequence[Tensor | None], norm: Tensor) -> list[Tensor | None]:
        if self.clip is not None:
            scale = (self.clip / (norm + 1e-6)).clamp(max=1.0)
            gradients = [None if g is None else g * scale for g in gradients]
        if self.clip_value is not None:
            gradients = [None if g is None else g.clamp(-self.clip_value, self.clip_value) for g in gradients]
        return list(gradients)


def _first_call(compiled: Callable[..., Any], batch: Batch) -> Any:
    """What the step gives.

    Raises:
        ConfigError: something in it cannot be traced, as a recurrent network of torch's.
    """
    import torch._dynamo.exc as dynamo

    try:
        return compiled(batch.x, batch.y)
    except dynamo.TorchDynamoException as error:
        reason = str(error).strip().partition("\n")[0]
        message = f"this step cannot be made into one graph ({reason}): set it to null, or to model"
        raise ConfigError(Problem(message, "train.compile")) from error


@contextmanager
def _tracing() -> Iterator[None]:
    """`autograd.grad` is traced within a step alone: with that flag set for everything, a compiled `backward` would
    train nothing, silently. Draws are torch's own, as without a graph."""
    with _checks_of_distributions():
        import torch._dynamo.config as dynamo
        import torch._inductor.config as inductor

        with dynamo.patch(trace_autograd_ops=True), inductor.patch(fallback_random=True):
            Distribution.set_default_validate_args(False)  # what they look at is not known while tracing
            yield


@contextmanager
def _checks_of_distributions() -> Iterator[None]:
    """Whether torch's distributions check their arguments is as it was afterwards: torch's compiler switches that off
    for the whole process when it is imported."""
    before = Distribution._validate_args
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
