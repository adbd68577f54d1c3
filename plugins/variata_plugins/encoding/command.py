"""`variata encode`: z = encode(x), deterministic (the posterior's mean, where there is a posterior)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, get_args

import numpy as np
import torch
import typer
from torch import Tensor

from variata import (
    Autoencoder,
    ConfigError,
    DataError,
    Model,
    Problem,
    Run,
    RunError,
    Split,
    SplitName,
    Unsupported,
    load,
)
from variata_plugins.datasets.array import read_arrays
from variata_plugins.pictures.commands import check_out, save_arrays

_AT_ONCE = 1000
_FILES = (".npz", ".npy", ".safetensors")


@torch.no_grad()
def encode(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")],
    data: Annotated[
        str, typer.Option("--data", help="train, validation or test of the run's data; or a file of x (and y).")
    ] = "test",
    out: Annotated[
        Path, typer.Option("--out", help="An .npz of z, index (and y, -1 where not known), or a .csv of it.")
    ] = Path("codes.npz"),
    plugin: Annotated[list[str] | None, typer.Option("--plugin", metavar="FILE", help="Load a plugin file.")] = None,
) -> None:
    """Write the codes of examples to an .npz or a .csv file."""
    check_out(out, (".npz", ".csv"))
    loaded = load(run, plugins=plugin or ())
    if not isinstance(loaded.model, Autoencoder):
        raise Unsupported(f"{type(loaded.model).__name__} has no codes: it cannot encode")
    found = codes(loaded.model, examples(loaded, data))
    save_arrays(out, **found) if out.suffix == ".npz" else _save_csv(out, found)
    print(out)


def codes(model: Autoencoder, split: Split) -> dict[str, Tensor]:
    """z `[n, *latent]`, the row of each in its split as index `[n]`, and y where there is one.

    Raises:
        DataError: the split is empty.
    """
    if not len(split):
        raise DataError("there are no examples to encode: choose another split")
    batches = list(split.batches(_AT_ONCE))
    z = torch.cat([model.encode(batch.x, batch.y) for batch in batches])
    y = [batch.y for batch in batches if batch.y is not None]
    return {"z": z, "index": torch.arange(len(z))} | ({"y": torch.cat(y)} if y else {})


def examples(run: Run, data: str) -> Split:
    """A split of the run's data, or the arrays x and y of a file, held against what the model was trained on.

    Raises:
        ConfigError: neither.
        DataError: the file cannot be read, or is of another form.
    """
    if data in get_args(SplitName):
        return run.data.split(data)  # pyright: ignore[reportArgumentType]
    if Path(data).suffix not in _FILES:
        names = ", ".join(get_args(SplitName))
        raise ConfigError(Problem(f"is one of {names}, or a file {', '.join(_FILES)} (got {data!r})", "--data"))
    arrays = read_arrays(Path(data))
    if "x" not in arrays:
        raise DataError(f"{data}: has no array x (it has {', '.join(arrays) or 'nothing'})")
    x = _numbers(arrays["x"], f"{data}: x")
    _check_examples(x, run.model, f"{data}: x")
    y = None if "y" not in arrays else _numbers(arrays["y"], f"{data}: y")
    return Split(x, _checked_labels(y, len(x), run.model, data))


def _numbers(values: np.ndarray, name: str) -> Tensor:
    if values.dtype.kind not in "fiub":
        raise DataError(f"{name} holds values of type {values.dtype}, and numbers are needed")
    return torch.from_numpy(values.astype(np.float64))


def _check_examples(x: Tensor, model: Model, name: str) -> None:
    """Refuses what the model was not made for: its network would give codes of it, which mean nothing."""
    spec = model.spec
    if not x.ndim or tuple(x.shape[1:]) != spec.shape:
        raise DataError(f"{name} is {list(x.shape)}, and the model encodes [n, {', '.join(map(str, spec.shape))}]")
    if not len(x):
        raise DataError(f"{name} has no examples to encode")
    there = ~x.isnan() if spec.missing else torch.ones_like(x, dtype=torch.bool)
    if not x[there].isfinite().all():
        raise DataError(f"{name} has values that are not finite")
    if spec.support not in ("real", "mixed") and ((x < spec.low) | (x > spec.high))[there].any():
        seen = f"{float(x[there].min()):g} .. {float(x[there].max()):g}"
        raise DataError(f"{name} is in {seen}, and the model's data in {spec.low:g} .. {spec.high:g}: scale it")
    if spec.support == "binary" and not ((x == 0) | (x == 1))[there].all():
        raise DataError(f"{name} has values other than 0 and 1, and the model's data is binary: binarise it")
    for values, column in zip(x.T, spec.columns, strict=True) if spec.columns else ():
        values = values[~values.isnan()]
        last = len(column.levels) - 1 if column.levels else float("inf")
        if column.kind != "numeric" and not ((values == values.round()) & (values >= 0) & (values <= last)).all():
            what = f"the number of a level, 0 .. {last}" if column.levels else "a count"
            raise DataError(f"{name} has values in the column {column.name!r} that are not {what}")


def _checked_labels(y: Tensor | None, n: int, model: Model, name: str) -> Tensor | None:
    spec = model.spec
    if y is None:
        if model.conditional:
            raise DataError(f"{name}: the model is conditional: give y beside x, one for each example")
        return None
    if not y.ndim or len(y) != n:
        raise DataError(f"{name}: there are {n} examples, and y is {list(y.shape)}: give one for each")
    if not model.conditional:
        return y
    if spec.classes is None:
        if tuple(y.shape[1:]) != spec.condition or not y.isfinite().all():
            raise DataError(
                f"{name}: y is {list(y.shape)}, and the model needs finite [n, *{list(spec.condition or ())}]"
            )
        return y
    if y.ndim != 1 or not ((y == y.round()) & (y >= 0) & (y < spec.classes)).all():
        raise DataError(f"{name}: y has labels other than 0 .. {spec.classes - 1}")
    return y.long()


def _save_csv(out: Path, found: dict[str, Tensor]) -> None:
    z = found["z"].flatten(1)
    names = ["index", *(["y"] if "y" in found else []), *(f"z{k}" for k in range(z.shape[1]))]
    columns = [found["index"], *([found["y"]] if "y" in found else [])]
    rows = zip(*(column.tolist() for column in columns), z.tolist(), strict=True)
    try:
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            writer.writerows([*row[:-1], *row[-1]] for row in rows)
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror}") from error
