"""`variata sample` and `variata reconstruct`."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from variata import (
    Autoencoder,
    ConditionVectors,
    ConfigError,
    DataSpec,
    LabelFrequencies,
    LatentVariable,
    Model,
    Problem,
    RunError,
    Sampler,
    Unsupported,
    load,
)

from .figures import draw_examples, draw_pairs
from .of_run import title_of_samples
from .of_text import lines_of, write_lines

Files = Annotated[list[str] | None, typer.Option("--plugin", metavar="FILE", help="Load a local plugin file.")]
Drawn = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="A .png picture, an .npz of numbers, a .csv of rows, a .txt of lines, - for standard output. By default "
        "samples.png; of strings standard output.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="A .png picture, an .npz of numbers, a .txt of lines, - for standard output. By default "
        "reconstructions.png; of strings standard output.",
    ),
]
STANDARD_OUTPUT = Path("-")
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")]


@torch.no_grad()
def sample(
    run: RunArgument,
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 64,
    out: Drawn = None,
    condition: Annotated[
        str | None, typer.Option(help="A class (3), or some of them in turn (0..9, label=0..9, 1,3).")
    ] = None,
    mean: Annotated[bool, typer.Option("--mean", help="The decoder's mean instead of a draw from p(x | z).")] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the draws.")] = 0,
    plugin: Files = None,
) -> None:
    """Draw examples from a trained model, as a picture or as numbers."""
    check_out(out or STANDARD_OUTPUT, (".png", ".npz", ".csv", ".txt", "-"))
    model = load(run, plugins=plugin or ()).model
    out = _chosen(out, model, "samples.png")
    if out.suffix == ".csv" and not model.spec.columns:
        raise ConfigError(Problem("rows are of a table, and the model was trained on none: .png or .npz", "--out"))
    if not isinstance(model, Sampler):
        raise Unsupported(f"{type(model).__name__} cannot sample")
    y = _labels(condition, n, model)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if mean and not isinstance(model, LatentVariable):
            raise Unsupported(f"{type(model).__name__} has no decoder whose mean could be shown")
        y = _drawn(n, model) if y is None else y
        x = model.generate(n, y).mean if mean and isinstance(model, LatentVariable) else model.sample(n, y)
    if out.suffix == ".npz":
        save_arrays(out, x=x, **({} if y is None else {"y": y}))
    elif out.suffix == ".csv":
        save_rows(out, x, model.spec, y)
    elif out.suffix == ".txt" or out == STANDARD_OUTPUT:
        write_lines(lines_of(x, model.spec, y), None if out == STANDARD_OUTPUT else out)
    else:
        draw_examples(x, model.spec, out, "means of p(x | z), z ~ p(z)" if mean else title_of_samples(model))
    if out != STANDARD_OUTPUT:
        print(out)


@torch.no_grad()
def reconstruct(
    run: RunArgument,
    n: Annotated[int, typer.Option("-n", min=1, help="How many test examples.")] = 32,
    out: Out = None,
    plugin: Files = None,
) -> None:
    """Show test examples beside their reconstructions; of strings, each with a tab before what comes back."""
    check_out(out or STANDARD_OUTPUT, (".png", ".npz", ".txt", "-"))
    loaded = load(run, plugins=plugin or ())
    model = loaded.model
    out = _chosen(out, model, "reconstructions.png")
    if not isinstance(model, Autoencoder):
        raise Unsupported(f"{type(model).__name__} cannot reconstruct")
    split = loaded.data.split("test")
    if not len(split):
        raise ConfigError("the data has no test examples to reconstruct")
    batch = split.batch(torch.arange(min(n, len(split))))
    reconstructed = model.reconstruct(batch.x, batch.y)
    if out.suffix == ".npz":
        save_arrays(out, x=batch.x, reconstruction=reconstructed)
    elif out.suffix == ".txt" or out == STANDARD_OUTPUT:
        pairs = zip(lines_of(batch.x, model.spec), lines_of(reconstructed, model.spec), strict=True)
        write_lines(["\t".join(pair) for pair in pairs], None if out == STANDARD_OUTPUT else out)
    else:
        draw_pairs(batch.x, reconstructed, model.spec, out)
    if out != STANDARD_OUTPUT:
        print(out)


def check_out(out: Path, endings: tuple[str, ...] = (".png", ".npz")) -> None:
    """Refuses a file to write that is neither a picture nor numbers, or lies in no folder."""
    if (out.suffix or str(out)) not in endings:
        raise ConfigError(Problem(f"must end in {' or '.join(endings)} (got {str(out)!r})", "--out"))
    if not out.parent.is_dir():
        raise ConfigError(Problem(f"there is no folder {str(out.parent)!r}", "--out"))


def _chosen(out: Path | None, model: Model, otherwise: str) -> Path:
    """Where to write: as asked for; else strings on standard output, and other examples in a picture."""
    if out is None:
        return STANDARD_OUTPUT if model.spec.vocabulary else Path(otherwise)
    if (out.suffix == ".txt" or out == STANDARD_OUTPUT) and not model.spec.vocabulary:
        raise ConfigError(Problem("lines are of strings, and the model's data is none: .png or .npz", "--out"))
    return out


def save_arrays(out: Path, **arrays: Tensor) -> None:
    """Writes an .npz of arrays by name."""
    try:
        numbers: dict[str, Any] = {name: value.cpu().numpy() for name, value in arrays.items()}
        np.savez_compressed(out, **numbers)
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror}") from error


def save_rows(out: Path, x: Tensor, spec: DataSpec, y: Tensor | None) -> None:
    """Writes rows of a table in the units of its source, the label last where there is one."""
    columns, values = list(spec.columns), x.cpu()
    if y is not None and spec.label is not None:
        columns, values = [*columns, spec.label], torch.cat([values, y.cpu().to(values).reshape(len(x), 1)], dim=1)
    rows = [[c.text(v) for c, v in zip(columns, row, strict=True)] for row in values.tolist()]
    try:
        with out.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([[column.name for column in columns], *rows])
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror}") from error


def _drawn(n: int, model: Model) -> Tensor | None:
    """n conditions as the model itself would draw them, so that they can be kept beside the samples."""
    known = (part for part in model.modules() if isinstance(part, LabelFrequencies | ConditionVectors))
    conditions = next(known, None) if model.conditional else None
    return None if conditions is None else conditions.draw(n)


def _labels(text: str | None, n: int, model: Model) -> Tensor | None:
    """n labels from "3", "0..9", "label=0..9" or "1,3", in turn."""
    if text is None:
        return None
    classes = model.spec.classes
    if model.conditional and classes is None:
        message = "this model's condition is a vector: give it in Python, model.sample(n, condition)"
        if model.spec.source is not None:
            message = "this model's condition is a source: use variata generate RUN --source FILE"
        raise ConfigError(Problem(message, "--condition"))
    if classes is None or not (model.conditional or (isinstance(model, Sampler) and model.by_class)):
        message = "this model has no class condition; train one with model.condition=true"
        raise ConfigError(Problem(message, "--condition"))
    labels: list[int] = []
    for part in text.removeprefix("label=").split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:\.\.(\d{1,9}))?\s*", part)
        if match is None:
            raise ConfigError(Problem(f"{text!r} is no class: write 3, 0..9 or 1,3", "--condition"))
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < classes:
            raise ConfigError(Problem(f"the classes are 0..{classes - 1} (got {text})", "--condition"))
        labels += range(first, last + 1)
    return torch.tensor([labels[i % len(labels)] for i in range(n)])
