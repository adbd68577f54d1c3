"""Files of an exported part: `torch.export` (a .pt2 that torch alone runs) and ONNX. Each is read back and run before
it is left where it was asked for."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from variata import RunError, Unsupported, UserError

from .parts import ExportedPart

TOLERANCE = 1e-5
"""The greatest difference from eager execution, absolute for numbers below one and relative above."""

Runner = Callable[[dict[str, Tensor]], list[Tensor]]


def write_torch(part: ExportedPart, file: Path, described: dict[str, Any]) -> Runner:
    """Writes a `torch.export` archive; gives what runs it, read back."""
    torch.export.save(_program(part), file, extra_files={"variata.json": json.dumps(described)})
    module = torch.export.load(file).module()
    return lambda inputs: _listed(module(*inputs.values()))


def write_onnx(part: ExportedPart, file: Path, described: dict[str, Any]) -> Runner:
    """Writes an ONNX model with its weights inside; gives what runs it, read back by onnxruntime.

    Raises:
        UserError: the packages for it are not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 -- torch's exporter needs it, and says so only in a traceback
    except ImportError as error:
        raise UserError(f"ONNX needs the package {error.name}: pip install 'variata[onnx]'") from error
    traced = _program(part)
    with _quiet(part, "has no form in ONNX"):
        program = torch.onnx.export(
            traced, dynamo=True, input_names=list(part.inputs), output_names=list(part.outputs), verbose=False
        )
        assert program is not None
        model = program.model_proto
        onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in described.items()})
        onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(inputs: dict[str, Tensor]) -> list[Tensor]:
        found = session.run(None, {name: inputs[name].numpy() for name in names})
        return [torch.from_numpy(np.asarray(value)) for value in found]

    return run


@torch.no_grad()
def difference(part: ExportedPart, run: Runner) -> float:
    """The greatest difference from eager execution, over all examples and over the first alone: a batch of any size
    must do.

    Raises:
        Unsupported: it is greater than `TOLERANCE`.
    """
    worst = 0.0
    for count in (len(next(iter(part.inputs.values()))), 1):
        inputs = {name: value[:count] for name, value in part.inputs.items()}
        for name, eager, found in zip(part.outputs, _listed(part.function(*inputs.values())), run(inputs), strict=True):
            if eager.shape != found.shape:
                raise Unsupported(f"what was exported gives {name} {list(found.shape)}, not {list(eager.shape)}")
            gap = ((eager - found).abs() / eager.abs().clamp(min=1)).nan_to_num(nan=float("inf"))
            same = (eager == found) | (eager.isnan() & found.isnan())
            worst = max(worst, float(torch.where(same, torch.zeros_like(gap), gap).max()))
    if worst > TOLERANCE:
        raise Unsupported(f"what was exported differs from the model by {worst:.2g} (at most {TOLERANCE:g})")
    return worst


def _program(part: ExportedPart) -> torch.export.ExportedProgram:
    """The part as a graph that takes batches of any size."""
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({0: batch} for _ in part.inputs)
    with torch.no_grad():
        part.function(*part.inputs.values())  # what is computed once and kept is a constant of the graph then
    with _quiet(part, "cannot be traced"), torch.no_grad():
        return torch.export.export(part.function, tuple(part.inputs.values()), dynamic_shapes=shapes, strict=False)


def _listed(found: Tensor | tuple[Tensor, ...] | list[Tensor]) -> list[Tensor]:
    return [found] if isinstance(found, Tensor) else list(found)


@contextlib.contextmanager
def _quiet(part: ExportedPart, failure: str) -> Iterator[None]:
    """Exporters speak of their own inner workings; and distributions do not check values that are not known while
    tracing.

    Raises:
        Unsupported: whatever an exporter, or any plugin's code that it traces, fails with.
    """
    checks, level, out = Distribution._validate_args, logging.root.manager.disable, io.StringIO()
    Distribution.set_default_validate_args(False)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        lines = [line for line in str(error.__cause__ or error).splitlines() if line.strip()]
        reason = lines[0].strip() if lines else type(error).__name__
        raise Unsupported(f"{type(part.function.model).__name__} {failure}: {reason}") from error
    finally:
        logging.disable(level)
        Distribution.set_default_validate_args(checks)


FORMATS: dict[str, tuple[str, Callable[[ExportedPart, Path, dict[str, Any]], Runner]]] = {
    "torch.export": (".pt2", write_torch),
    "onnx": (".onnx", write_onnx),
}


def write_checked(part: ExportedPart, out: Path, format: str, described: dict[str, Any]) -> float:
    """Writes a part to a file that appears only once it was read back and gave the model's numbers; the difference.

    Raises:
        Unsupported: it cannot be traced, or gives other numbers.
        RunError: the file cannot be written.
    """
    ending, write = FORMATS[format]
    beside = out.with_name(f".{out.stem}.part{ending}")
    try:
        worst = difference(part, write(part, beside, described))
        beside.replace(out)
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
    return worst
