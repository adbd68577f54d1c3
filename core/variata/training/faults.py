"""What is said when training meets NaN, infinity or the end of memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..checkpoint import own_state, write_json, write_tensors
from ..data import Batch
from ..errors import NonFinite, UserError
from ..objective import Phase

if TYPE_CHECKING:
    from .loop import Loop
    from .options import Training
    from .stepping import Taken

FAULT = "fault"


class OutOfMemory(UserError):
    """A step needs more memory than there is."""


def named_parameters(model: nn.Module, loss: nn.Module) -> dict[str, nn.Parameter]:
    """Those of the model by their names, and those of the loss after "loss."."""
    return dict(model.named_parameters()) | {f"loss.{name}": value for name, value in loss.named_parameters()}


def diagnosis(model: nn.Module, loss: nn.Module, phase: Phase, taken: Taken, step: int) -> str:
    """Which step, phase, term and parameter met a number that is not finite, and what helps, in one line."""
    terms = {name: term for _, objective in taken.objectives for name, term in objective.terms.items()}
    bad = [name for name, term in terms.items() if not term.value.isfinite().all()]
    named = named_parameters(model, loss)
    broken = [name for name, value in named.items() if not value.isfinite().all()]
    names = {id(value): name for name, value in named.items()}
    gradients = [
        names.get(id(parameter), "a parameter")
        for parameter, gradient in zip(phase.parameters, taken.gradients or [None] * len(phase.parameters), strict=True)
        if gradient is not None and not gradient.isfinite().all()
    ]
    if bad:
        what = f"term {bad[0]} is not finite"
    elif gradients:
        what = f"the gradient of {gradients[0]} is not finite"
    else:
        what = "the total is not finite"
    where = f"; the first parameter that is not finite is {broken[0]}" if broken else ""
    return (
        f"step {step}, phase {phase.name}: {what}{where}. The step was not taken; try a smaller learning rate "
        "(train.optimizer.lr), or clip gradients (train.clip=1)"
    )


def out_of_memory(error: BaseException, examples: int, training: Training) -> OutOfMemory | None:
    """The error in words, where it is one of memory; else None."""
    of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
    if not of_memory:
        return None
    pieces = training.accumulate
    fewer = f"train.batch_size={max(1, training.batch_size // 2)}"
    return OutOfMemory(
        f"out of memory in a step of {examples} examples in {pieces} piece{'s' * (pieces > 1)}: set "
        f"train.accumulate={2 * pieces} for the same batch in smaller pieces, or {fewer}, or train.precision=bf16"
    )


def save_fault(folder: Path, model: nn.Module, loss: nn.Module, loop: Loop, error: NonFinite) -> None:
    """Leaves what `variata replay` needs in `fault/`: weights, the batch, the generator before the phase, the
    moment."""
    place = folder / FAULT
    place.mkdir(exist_ok=True)
    batch: Batch = error.batch
    tensors = {"x": batch.x} | ({} if batch.y is None else {"y": batch.y})
    tensors |= {} if batch.index is None else {"index": batch.index}
    tensors |= {} if batch.labelled is None else {"labelled": batch.labelled}
    tensors |= {} if loop.generator is None else {"generator": loop.generator}
    write_tensors(tensors, place / "batch.safetensors")
    write_tensors(own_state(model), place / "model.safetensors")
    write_tensors(own_state(loss), place / "loss.safetensors")
    moment = {"phase": error.phase, "message": str(error), "clock": list(loop.clock)}
    write_json(place / "fault.json", moment)
