"""Many runs as one table: a row for each run and metric. No model is built and no weights are read.

table = variata.runs("runs/")
table.to_csv("runs.csv")
table.to_pandas().pivot_table(index="loss.beta", columns="metric", values="value")
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from .checkpoint import write_text
from .errors import RunError, Unsupported, UserError, VariataWarning
from .run_folder import METRICS, SPEC, STATUS
from .yaml12 import parse_file

_ABOUT = ("run", "model", "loss", "data", "seed", "status", "steps", "seconds")
_FIGURE = ("split", "metric", "value", "standard_error", "monte_carlo_error", "kind", "measure", "examples", "samples")
_NO_METRIC = {"step", "epoch", "split", "lr"}


@dataclass(frozen=True)
class RunRecord:
    """What a run folder says.

    Attributes:
        path: the folder.
        options: every option of the specification under its dotted name, `loss.beta` to 4.0.
        status: "finished" and so on, as `Run.status`.
        steps, seconds: of training.
        evaluation: what `variata evaluate` found, by name; empty where it was not asked.
        split: of the evaluation.
        last: the last row that was logged of each split, by its name.
    """

    path: Path
    options: Mapping[str, Any]
    status: str
    steps: int | None
    seconds: float | None
    evaluation: Mapping[str, Mapping[str, Any]]
    split: str | None
    last: Mapping[str, Mapping[str, Any]]

    def figures(self) -> Iterator[dict[str, Any]]:
        """A row for each metric: the last ones logged, in training and validation, then those of the evaluation. What
        has a value for each dimension stays in evaluation.json."""
        for split, row in self.last.items():
            for name, value in row.items():
                if name not in _NO_METRIC and isinstance(value, int | float):
                    yield {"split": split, "metric": name, "value": value}
        for name, found in self.evaluation.items():
            if not isinstance(found.get("value"), list):
                kept = {key: found[key] for key in _FIGURE if key in found}
                yield kept | {"split": self.split, "metric": name}


class Runs(Sequence[RunRecord]):
    """Run folders in the order of their paths."""

    def __init__(self, root: Path, records: Sequence[RunRecord]) -> None:
        self.root, self._records = root, tuple(records)

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> RunRecord: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[RunRecord]: ...

    def __getitem__(self, index: int | slice) -> RunRecord | Sequence[RunRecord]:
        return self._records[index]

    def __repr__(self) -> str:
        return f"Runs({str(self.root)!r}, {len(self)} runs)"

    @property
    def columns(self) -> tuple[str, ...]:
        """What every row has: about the run, the options in which these runs differ, the figure."""
        names = dict.fromkeys(name for record in self for name in record.options)
        told = ("seed", "model.use", "loss.use", "data.use")
        differing = (n for n in names if n not in told and len({repr(r.options.get(n)) for r in self}) > 1)
        return (*_ABOUT, *differing, *_FIGURE)

    def rows(self) -> list[dict[str, Any]]:
        """One for each run and metric, all with the same columns; None where nothing is known. A run of which nothing
        was logged has one row, without a metric."""
        columns, found = self.columns, []
        for record in self:
            path, options = record.path, record.options
            about = {"run": os.path.relpath(path, self.root) if path != self.root else path.name, **options}
            about |= {name: options.get(f"{name}.use") for name in ("model", "loss", "data")}
            about |= {"status": record.status, "steps": record.steps, "seconds": record.seconds}
            for figure in list(record.figures()) or [{}]:
                row = about | figure
                found.append({name: row.get(name) for name in columns})
        return found

    def to_csv(self, path: str | Path) -> Path:
        """Writes the rows as one CSV file.

        Raises:
            RunError: it cannot be written.
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        write_text(Path(path), text.getvalue())
        return Path(path)

    def to_pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`.

        Raises:
            Unsupported: pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            remedy = "pip install pandas, or use to_csv"
            raise Unsupported(f"a data frame needs pandas, which is not installed: {remedy}") from error
        return pandas.DataFrame(self.rows(), columns=list(self.columns))


def runs(root: str | Path = "runs") -> Runs:
    """Every run folder in a folder and below it, or the folder itself where it is one. What cannot be read is named by
    a warning and left out.

    Raises:
        RunError: there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise RunError(f"{root}: there is no such folder of runs")
    records = []
    for file in sorted(root.rglob(SPEC)):
        try:
            records.append(_record(file.parent))
        except (UserError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            warnings.warn(f"{file.parent} is left out: it cannot be read ({error})", VariataWarning, stacklevel=2)
    return Runs(root, records)


def _record(folder: Path) -> RunRecord:
    spec = parse_file(folder / SPEC, str(folder / SPEC)).plain
    status: dict[str, Any] = _json(folder / STATUS) or {"status": "running"}
    evaluation: dict[str, Any] = _json(folder / "evaluation.json") or {"settings": {}, "metrics": {}}
    last: dict[str, Mapping[str, Any]] = {}
    if (folder / METRICS).is_file():
        for line in (folder / METRICS).read_text(encoding="utf-8", errors="replace").splitlines():
            row = _row(line)
            last[row.get("split", "train")] = row
    options = dict(_flat({key: value for key, value in spec.items() if key != "built"}))
    split, figures = evaluation["settings"].get("split"), evaluation["metrics"]
    last = {name: row for name, row in last.items() if row}
    return RunRecord(folder, options, status["status"], status.get("step"), status.get("seconds"), figures, split, last)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _row(line: str) -> dict[str, Any]:
    """A row of metrics.jsonl; nothing of one that was cut short."""
    try:
        return json.loads(line)
    except ValueError:
        return {}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield path, value
        return
    for key, below in value.items():
        yield from _flat(below, f"{path}.{key}" if path else str(key))
