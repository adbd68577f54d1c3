"""`variata export`: a part of a trained model for programs that do without variata."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

import variata
from variata import ConfigError, Problem, load
from variata_plugins.pictures.commands import check_out

from .formats import FORMATS, write_checked
from .parts import exported_part


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")],
    part: Annotated[str, typer.Option("--part", help="encoder, decoder, or all.")] = "all",
    format: Annotated[str, typer.Option("--format", help="torch.export or onnx.")] = "torch.export",
    out: Annotated[
        Path | None, typer.Option("--out", help="The file; by default in the run, named by the part.")
    ] = None,
    plugin: Annotated[list[str] | None, typer.Option("--plugin", metavar="FILE", help="Load a plugin file.")] = None,
) -> None:
    """Write a part of a model for other programs: torch.export or ONNX."""
    if format not in FORMATS:
        raise ConfigError(Problem(f"is one of {', '.join(FORMATS)} (got {format!r})", "--format"))
    ending = FORMATS[format][0]
    out = Path(run) / f"{part}{ending}" if out is None else out
    loaded = load(run, plugins=plugin or ())
    chosen = exported_part(loaded, part)
    check_out(out, (ending,))
    described = {
        "run": loaded.path.resolve().name,
        "model": type(loaded.model).__name__,
        "part": part,
        "inputs": {name: ["batch", *value.shape[1:]] for name, value in chosen.inputs.items()},
        "outputs": list(chosen.outputs),
        "versions": {"variata": variata.__version__, "torch": torch.__version__},
    }
    worst = write_checked(chosen, out, format, described)
    names = f"{', '.join(chosen.inputs)} -> {', '.join(chosen.outputs)}"
    print(f"{out}  {names}  (differs from the model by at most {worst:.1e})")
