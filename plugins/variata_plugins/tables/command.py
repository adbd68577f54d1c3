"""`variata impute`: what is missing in a table is filled, and every other value stays as it is written."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from variata import Column, ConfigError, DataError, Problem, Run, RunError, load

from .cells import Cells, read_cells
from .imputation import columns_of
from .imputation import impute as imputed
from .kinds import MISSING, Reader
from .table import Table, standardised


def impute(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, trained on a table.")],
    data: Annotated[Path, typer.Option("--data", help="The table to fill: .csv or .parquet, with the run's columns.")],
    out: Annotated[Path, typer.Option("--out", help="The .csv file to write.")],
    samples: Annotated[int, typer.Option(min=1, help="Importance samples for each row.")] = 1000,
    draw: Annotated[bool, typer.Option("--draw", help="A draw of what is missing, instead of its mean.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the draws.")] = 0,
    plugin: Annotated[
        list[str] | None, typer.Option("--plugin", metavar="FILE", help="Load a local plugin file.")
    ] = None,
) -> None:
    """Fill what is missing in a table: E[missing | rest] of numbers and counts, the most probable level of others."""
    if out.suffix != ".csv":
        raise ConfigError(Problem(f"must end in .csv (got {str(out)!r})", "--out"))
    if not out.parent.is_dir():
        raise ConfigError(Problem(f"there is no folder {str(out.parent)!r}", "--out"))
    loaded = load(run, plugins=plugin or ())
    model, columns = loaded.model, columns_of(loaded.model)
    form = _form(loaded)
    cells = read_cells(data, form["header"], form["separator"])
    reader = Reader(cells, form["missing"], {})
    x = values_of(reader, columns)
    y = _labels(reader, model.spec.label) if model.conditional else None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found = imputed(model, x, y, samples=samples, draw=draw)
    gaps = x.isnan()
    for place, column in enumerate(columns):
        at = cells.names.index(column.name)
        for row in gaps[:, place].nonzero().flatten().tolist():
            cells.rows[row][at] = column.text(float(found.x[row, place]))
    _write(cells, out, form)
    print(f"{out}: {int(gaps.sum())} values filled in {int(gaps.any(1).sum())} of {len(x)} rows")
    if found.effective is not None and gaps.any():
        of_rows = found.effective[gaps.any(1)]
        least, median = float(of_rows.min()), float(of_rows.median())
        print(f"effective samples of {samples}: {least:.1f} at least, {median:.1f} the median")


def values_of(reader: Reader, columns: Sequence[Column]) -> Tensor:
    """The rows of a table as a model of these columns sees them, `[rows, columns]`.

    Raises:
        DataError: a column is not there, or holds a value that it did not have in training.
    """
    absent = [column.name for column in columns if column.name not in reader.cells.names]
    if absent:
        has = ", ".join(reader.cells.names[:20])
        raise DataError(
            f"{reader.cells.source}: lacks the column {absent[0]!r} that the model was trained on (it has {has})"
        )
    values = torch.stack([reader.values(column) for column in columns], dim=1)
    return standardised(values, columns).to(torch.get_default_dtype())


def _labels(reader: Reader, label: Column | None) -> Tensor:
    if label is None:
        raise DataError("the model's condition is no column of a table, so it cannot be read from one")
    y = values_of(reader, [label])
    if (gaps := y.isnan()).any():
        where = reader.cells.place(int(gaps.nonzero()[0, 0]), label.name)
        raise DataError(f"{where}: the label is missing, and the model is conditional on it: fill it by hand")
    return y[:, 0].long() if label.levels else y


def _form(run: Run) -> dict[str, Any]:
    """How the run's own table is written."""
    section: Any = run.spec["data"]
    if getattr(section, "part_class", None) is Table:
        options = section.options
        return {
            "header": options["header"],
            "separator": options["separator"],
            "missing": [str(m) for m in options["missing"]],
        }
    return {"header": True, "separator": ",", "missing": list(MISSING)}


def _write(cells: Cells, out: Path, form: dict[str, Any]) -> None:
    try:
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=form["separator"], lineterminator="\n")
            writer.writerows([cells.names] * form["header"] + cells.rows)
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror}") from error
