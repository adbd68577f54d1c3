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
from variata_plugins.pictures.commands import check_out, save_arrays

_AT_ONCE = 1000


@torch.no_grad()
def encode(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")],
    data: Annotated[
        str, typer.Option("--data", help="train, validation or test of the run's data; or an .npz of x (and y).")
    ] = "test",
    out: Annotated[Path, typer.Option("--out", help="An .npz of z, index (and y), or a .csv of the same.")] = Path(
        "codes.npz"
    ),
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
    if Path(data).suffix != ".npz":
        names = ", ".join(get_args(SplitName))
        raise ConfigError(Problem(f"is one of {names}, or an .npz file (got {data!r})", "--data"))
    try:
        with np.load(data, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(np.asarray(file[name])) for name in ("x", "y") if name in file}
    except FileNotFoundError as error:
        raise DataError(f"{data}: there is no such file") from error
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataError(f"{data}: is no .npz of numbers ({error})") from error
    if "x" not in arrays:
        raise DataError(f"{data}: has no array x")
    _check_like(arrays, run.model, data)
    return Split(arrays["x"], arrays.get("y"))


def _check_like(arrays: dict[str, Tensor], model: Model, name: str) -> None:
    spec, x, y = model.spec, arrays["x"], arrays.get("y")
    if tuple(x.shape[1:]) != spec.shape:
        raise DataError(f"{name}: x is {list(x.shape)}, and the model encodes [n, {', '.join(map(str, spec.shape))}]")
    if not len(x):
        raise DataError(f"{name}: there are no examples to encode")
    missing = spec.missing and bool(x.isfinite().logical_or(x.isnan()).all())
    if not (missing or x.isfinite().all()):
        raise DataError(f"{name}: x has values that are not finite")
    if spec.support not in ("real", "mixed") and (x.min() < spec.low or x.max() > spec.high):
        seen = f"{float(x.min()):g} .. {float(x.max()):g}"
        raise DataError(f"{name}: x is in {seen}, and the model's data in {spec.low:g} .. {spec.high:g}: scale it")
    if spec.support == "binary" and not ((x == 0) | (x == 1)).all():
        raise DataError(f"{name}: x has values other than 0 and 1, and the model's data is binary: binarise it")
    if not model.conditional:
        return
    if y is None or len(y) != len(x):
        raise DataError(f"{name}: the model is conditional: give y beside x, one for each example")
    if spec.classes and not ((y >= 0) & (y < spec.classes)).all():
        raise DataError(f"{name}: y has labels outside 0 .. {spec.classes - 1}")


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
