"""All that training is at, on disk: weights, optimisers, averages, generators, position. A run that goes on from it
ends as it would have ended.

A checkpoint is a folder `checkpoints/step-N`, written beside and renamed when it is whole. It holds safetensors and
JSON alone: `model` (weights as training moves them), `training` (the loss's state, optimisers, averages), for each
process `rank-R` (generators, chains, what is not logged yet), and `state.json`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from ..checkpoint import load_weights, own_state, read_tensors, whole_state, write_json, write_tensors
from ..errors import NonFinite, RunError
from ..processes import assign
from .loop import Loop

FOLDER, STATE = "checkpoints", "state.json"
MODEL, TRAINING = "model.safetensors", "training.safetensors"


@dataclass
class State:
    """What is no tensor. `tensors` lists those of every file; `metrics_bytes` is the length of metrics.jsonl."""

    step: int
    processes: int
    validated: int
    waited: int
    skipped: int
    seconds: float
    metrics_bytes: int
    best: tuple[float, int] | None = None
    optimizers: dict[str, dict[str, float]] = field(default_factory=dict)
    scalers: dict[str, dict[str, float]] = field(default_factory=dict)
    tensors: dict[str, dict[str, list[int]]] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one run; of several processes all call each method.

    Args:
        run: the run's folder.
        keep: how many of the last ones stay; the best one stays besides.
    """

    def __init__(self, run: Path, keep: int = 1) -> None:
        self.folder, self.keep = run / FOLDER, keep

    def all(self) -> list[Path]:
        """Those that are whole, the oldest first."""
        found = [path for path in self.folder.glob("step-*") if path.name[5:].isdecimal()]
        return sorted(found, key=lambda path: int(path.name[5:]))

    def of_step(self, step: int) -> Path:
        return self.folder / f"step-{step}"

    def save(self, loop: Loop, metrics_bytes: int = 0) -> Path:
        """Writes a checkpoint of this moment, and removes those that are no longer kept.

        Raises:
            RunError: it cannot be written; those before it stand.
            NonFinite: a weight is not finite.
        """
        target, where = self.of_step(loop.clock.step), loop.world
        if where.shared(target.exists()):
            return target
        part = self.folder / f".{target.name}.part"
        weights, state_of_loss = whole_state(loop.model), whole_state(loop.loss)
        files = {TRAINING: {f"loss.{name}": v for name, v in state_of_loss.items() if name not in loop.local}}
        files[f"rank-{where.rank}.safetensors"] = _rank_tensors(loop)
        # Of weights that are cut, every process keeps what belongs to its part.
        files[f"rank-{where.rank}.safetensors" if loop.is_cut else TRAINING] |= _moved_tensors(loop)
        if not where.first:
            del files[TRAINING]
        listed = {name: {key: list(value.shape) for key, value in tensors.items()} for name, tensors in files.items()}
        with _removed_on_failure(part, where.first):
            if where.first:
                _refuse_non_finite(weights, loop.clock.step)
                _make_folder(part)
                write_tensors(weights, part / MODEL)
            where.shared(None)
            for name, tensors in files.items():
                write_tensors(tensors, part / name)
            write_json(part / f"rank-{where.rank}.json", _rank_numbers())
            everybody = where.gather(listed)
            if where.first:
                state = _state(loop, metrics_bytes)
                state.tensors = {name: tensors for one in everybody for name, tensors in one.items()}
                write_json(part / STATE, asdict(state))
                _flush(part)
                part.rename(target)
                _flush(self.folder)
                self._retire(loop.best)
            where.shared(None)
        return target

    def restore(self, loop: Loop, checkpoint: Path) -> State:
        """Puts a loop where the checkpoint was written, generators of the process included.

        Raises:
            RunError: the checkpoint is damaged, or is of another number of processes.
        """
        state = self.state(checkpoint)
        rank = f"rank-{loop.world.rank}"
        if state.processes != loop.world.size:
            message = f"was written by {state.processes} processes, and is continued exactly by as many"
            raise RunError(f"{checkpoint}: {message} (train.devices={state.processes})")
        load_weights(loop.model, checkpoint / MODEL)
        training = _read(checkpoint, TRAINING, state)
        of_rank = _read(checkpoint, f"{rank}.safetensors", state)
        _restore_training(loop, state, training, of_rank if loop.is_cut else training)
        _restore_rank(loop, of_rank, checkpoint / f"{rank}.json")
        loop.clock = loop.clock._replace(step=state.step)
        loop.now.advance(loop.clock)
        loop.validated, loop.waited, loop.skipped = state.validated, state.waited, state.skipped
        loop.best, loop.seconds_before = state.best, state.seconds
        return state

    def state(self, checkpoint: Path) -> State:
        """Raises:
        RunError: state.json is missing or damaged.
        """
        try:
            return TypeAdapter(State).validate_json((checkpoint / STATE).read_bytes())
        except (OSError, ValueError) as error:
            raise RunError(f"{checkpoint / STATE}: is missing or damaged; remove this checkpoint's folder") from error

    def load_averaged(self, loop: Loop, checkpoint: Path) -> None:
        """Gives the model the weights that it is evaluated with: the averages where there are any."""
        load_weights(loop.model, checkpoint / MODEL)
        averages = loop.averages
        if averages is not None:
            file = f"rank-{loop.world.rank}.safetensors" if loop.is_cut else TRAINING
            found = _read(checkpoint, file, self.state(checkpoint))
            for name, value in averages.values.items():
                value.copy_(found[f"average.{name}"])
            averages.copy_to_model()

    def clean(self) -> None:
        """Removes what a process that was killed left half written."""
        for part in self.folder.glob(".step-*.part"):
            shutil.rmtree(part, ignore_errors=True)

    def _retire(self, best: tuple[float, int] | None) -> None:
        kept = self.all()[-self.keep :]
        for old in self.all():
            if old not in kept and (best is None or old != self.of_step(best[1])):
                # First out of the way in one move: what is named step-N is whole.
                aside = old.with_name(f".{old.name}.part")
                old.rename(aside)
                shutil.rmtree(aside, ignore_errors=True)


def _state(loop: Loop, metrics_bytes: int) -> State:
    numbers: dict[str, dict[str, float]] = {}
    for mover in loop.movers:
        for position, parameter in enumerate(mover.moved):
            for key, value in mover.optimizer.state.get(parameter, {}).items():
                if isinstance(value, int | float):
                    numbers.setdefault(mover.phase.name, {})[f"{position}.{key}"] = value
                elif not isinstance(value, Tensor | None):
                    optimizer = type(mover.optimizer).__name__
                    raise RunError(f"{optimizer} keeps {key} of type {type(value).__name__}, which cannot be saved")
    scalers = {mover.phase.name: mover.scaler.state_dict() for mover in loop.movers if mover.scaler is not None}
    return State(
        step=loop.clock.step,
        processes=loop.world.size,
        validated=loop.validated,
        waited=loop.waited,
        skipped=loop.skipped,
        seconds=loop.seconds,
        metrics_bytes=metrics_bytes,
        best=loop.best,
        optimizers=numbers,
        scalers=scalers,
    )


def _moved_tensors(loop: Loop) -> dict[str, Tensor]:
    """What belongs to the weights: averages, and the state of optimisers."""
    averages = {} if loop.averages is None else loop.averages.values
    tensors = {f"average.{name}": value for name, value in averages.items()}
    for mover in loop.movers:
        for position, parameter in enumerate(mover.moved):
            for key, value in mover.optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{mover.phase.name}.{position}.{key}"] = value
    return tensors


def _restore_training(loop: Loop, state: State, training: dict[str, Tensor], moved: dict[str, Tensor]) -> None:
    named = {f"loss.{name}": value for name, value in own_state(loop.loss).items() if name not in loop.local}
    _copy(named, {name: value for name, value in training.items() if name.startswith("loss.")}, "loss")
    averages = {} if loop.averages is None else loop.averages.values
    named = {f"average.{name}": value for name, value in averages.items()}
    _copy(named, {name: value for name, value in moved.items() if name.startswith("average.")}, "averages")
    for mover in loop.movers:
        start = f"optimizer.{mover.phase.name}."
        found: dict[str, Any] = {k.removeprefix(start): v for k, v in moved.items() if k.startswith(start)}
        for name, value in {**found, **state.optimizers.get(mover.phase.name, {})}.items():
            position, _, key = name.partition(".")
            parameter = mover.moved[int(position)]
            if isinstance(value, Tensor) and (value.ndim or key != "step"):
                value = value.to(parameter.device)
            mover.optimizer.state[parameter][key] = value
        if mover.scaler is not None:
            mover.scaler.load_state_dict(state.scalers[mover.phase.name])


def _rank_tensors(loop: Loop) -> dict[str, Tensor]:
    tensors = {f"buffer.{name}": value for name, value in loop.local.items()}
    tensors |= {f"meter.{name}": torch.cat(values) for name, values in loop.meter.values.items()}
    tensors["generator.cpu"] = torch.get_rng_state()
    if loop.device.type == "cuda":
        tensors["generator.cuda"] = torch.cuda.get_rng_state(loop.device)
    return tensors


def _restore_rank(loop: Loop, tensors: dict[str, Tensor], numbers: Path) -> None:
    _copy(
        {f"buffer.{name}": value for name, value in loop.local.items()},
        {name: value for name, value in tensors.items() if name.startswith("buffer.")},
        "chains",
    )
    meter = {name[6:]: [value.to(loop.device)] for name, value in tensors.items() if name.startswith("meter.")}
    loop.meter.values = meter
    torch.set_rng_state(tensors["generator.cpu"])
    if "generator.cuda" in tensors and loop.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["generator.cuda"], loop.device)
    try:
        found = json.loads(numbers.read_bytes())
        version, internal, gauss = found["python"]
        random.setstate((version, tuple(internal), gauss))
        name, keys, *rest = found["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{numbers}: is missing or damaged; remove this checkpoint's folder") from error


def _rank_numbers() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()
    return {"python": random.getstate(), "numpy": [name, np.asarray(keys).tolist(), *rest]}


def _read(checkpoint: Path, file: str, state: State) -> dict[str, Tensor]:
    """The tensors of a file, which are those that were written.

    Raises:
        RunError: naming what is missing, unexpected, or of another shape.
    """
    tensors = read_tensors(checkpoint / file)
    listed = state.tensors.get(file, {})
    problems = [f"missing {name}" for name in listed if name not in tensors]
    problems += [f"unexpected {name}" for name in tensors if name not in listed]
    problems += [
        f"{name} is {list(tensors[name].shape)}, not {shape}"
        for name, shape in listed.items()
        if name in tensors and list(tensors[name].shape) != shape
    ]
    if problems:
        raise RunError(f"{checkpoint / file}: is not what was written: {', '.join(problems[:5])}")
    return {name: tensors[name] for name in listed}  # in the order of writing


def _copy(into: dict[str, Tensor], found: dict[str, Tensor], what: str) -> None:
    if {n: v.shape for n, v in into.items()} != {n: v.shape for n, v in found.items()}:
        raise RunError(
            f"the {what} of the checkpoint is not that of this specification: {sorted(set(into) ^ set(found))}"
        )
    for name, value in into.items():
        assign(value, found[name])


def _refuse_non_finite(weights: dict[str, Tensor], step: int) -> None:
    for name, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            message = f"{name} is not finite, and is not saved; try a smaller learning rate (train.optimizer.lr)"
            raise NonFinite(f"step {step}: {message}")


@contextlib.contextmanager
def _removed_on_failure(part: Path, first: bool) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"{part}: cannot be written: {error.strerror or error}") from error
    finally:
        if first and part.exists():
            shutil.rmtree(part, ignore_errors=True)


def _make_folder(part: Path) -> None:
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)


def _flush(folder: Path) -> None:
    """What was renamed or made in a folder stands when the machine stops."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
