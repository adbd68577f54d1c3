"""What a run that met NaN or infinity was at: the same phase, batch and noise again, and where the first bad number
comes from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..assembly import assemble
from ..checkpoint import load_weights, read_tensors
from ..config import load_spec
from ..data import Batch, DataSpec
from ..errors import RunError
from ..objective import Clock, Now
from ..run_folder import SPEC
from .faults import FAULT, named_parameters
from .stepping import PRECISIONS


@dataclass
class Replay:
    """A phase that was taken again.

    Attributes:
        message: what training said.
        terms: of each term the least and the greatest value, and how many values are not finite.
        parameters, gradients: names of those that are not finite.
        module: the first module whose output is not finite, in the order of the forward pass.
    """

    message: str
    step: int
    phase: str
    examples: int
    terms: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    parameters: list[str] = field(default_factory=list)
    gradients: list[str] = field(default_factory=list)
    module: str | None = None


def replay(run: str | Path) -> Replay:
    """Takes the phase at which a run met NaN or infinity again, without moving anything.

    Raises:
        RunError: the run met none, or what it left is damaged.
    """
    place = Path(run) / FAULT
    if not place.is_dir():
        raise RunError(f"{run}: there is nothing to replay: no step of it was stopped by NaN or infinity")
    spec = load_spec(Path(run) / SPEC)
    try:
        moment = json.loads((place / "fault.json").read_bytes())
        clock, phase_name = Clock(*moment["clock"]), str(moment["phase"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{place / 'fault.json'}: is missing or damaged") from error
    assert spec.built is not None
    assembly = assemble(spec, DataSpec.from_json(spec.built["data"]))
    model, loss = assembly.model, assembly.loss
    load_weights(model, place / "model.safetensors")
    load_weights(loss, place / "loss.safetensors")
    tensors = read_tensors(place / "batch.safetensors")
    batch = Batch(tensors["x"], *(tensors.get(name) for name in ("y", "index", "labelled")))
    phase = next((phase for phase in loss.phases(model) if phase.name == phase_name), None)
    if phase is None:
        raise RunError(f"{place / 'fault.json'}: the loss has no phase {phase_name!r}")
    found = Replay(moment["message"], clock.step + 1, phase_name, len(batch))
    named = named_parameters(model, loss)
    found.parameters = [name for name, value in named.items() if not value.isfinite().all()]
    dtype = PRECISIONS.get(assembly.training.precision) if phase.autocast else None
    model.train()
    loss.train()
    watching = _watch(model, found) + _watch(loss, found, "loss.")
    try:
        with torch.random.fork_rng(), torch.autocast("cpu", dtype, enabled=dtype is not None):
            if "generator" in tensors:
                torch.set_rng_state(tensors["generator"])
            objective = phase.loss(model, batch, Now(clock))
            total = objective.total(phase.reduction)
    finally:
        for handle in watching:
            handle.remove()
    for name, term in objective.terms.items():
        value = term.value.detach()
        sound = value[value.isfinite()]
        least, greatest = (float(sound.min()), float(sound.max())) if sound.numel() else (float("nan"),) * 2
        found.terms[name] = least, greatest, int((~value.isfinite()).sum())
    names = {id(parameter): name for name, parameter in named.items()}
    gradients = torch.autograd.grad(total, phase.parameters, allow_unused=True)
    found.gradients = [
        names[id(parameter)]
        for parameter, gradient in zip(phase.parameters, gradients, strict=True)
        if gradient is not None and not gradient.isfinite().all()
    ]
    return found


def _watch(module: nn.Module, found: Replay, prefix: str = "") -> list[Any]:
    def hook(name: str) -> Any:
        def look(_: nn.Module, inputs: Any, output: Any) -> None:
            if found.module is None and isinstance(output, Tensor) and not output.isfinite().all():
                found.module = name

        return look

    return [part.register_forward_hook(hook(prefix + name)) for name, part in module.named_modules() if name]
