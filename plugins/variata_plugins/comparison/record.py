"""What one comparison found, as it lies in `DIR/comparison.json`: everything that its tables and its report show.

Files are named relative to DIR. A figure that does not apply stays in its place, with the reason.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from variata import RunError

FILE = "comparison.json"

Status = Literal["ok", "failed", "skipped"]
Kind = Literal["=", "<=", ">=", "~", ""]
"""How the truth stands to a figure: equal, at most, at least, biased; empty where the figure is what it is."""


@dataclass(kw_only=True)
class Budget:
    """What each model was trained with: so many epochs, steps or seconds."""

    kind: Literal["epochs", "steps", "seconds"]
    value: float
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.value:g} {self.kind if self.value != 1 else self.kind[:-1]} each"


@dataclass(kw_only=True)
class View:
    """One form of the examples. All views of a comparison are of the same examples in the same splits.

    Attributes:
        name: short ("binary", "grey"); the first view is the common one.
        words: what an example is.
        options: the resolved section `data`.
        models: the names of those that were trained on it.
        reason: why it is not the common one; empty where it is.
    """

    name: str
    words: str
    options: dict[str, Any]
    models: list[str]
    reason: str = ""


@dataclass(kw_only=True)
class DataUsed:
    """The data of a comparison: `split` is the one that figures are of, `examples` how many each split has."""

    use: str
    shape: list[int]
    examples: dict[str, int]
    split: str
    views: list[View]


@dataclass(kw_only=True)
class RunOf:
    """One training of a model.

    Attributes:
        folder: the run.
        status: "ok", "failed" (with `failure`), or "skipped" (not reached).
        seconds: of training.
        steps: of training.
        sampling: seconds for 1,000 samples; None where the model does not sample.
        curves: learning curves, "train/loss" to its [step, value] pairs.
    """

    folder: str
    seed: int
    status: Status
    failure: str = ""
    seconds: float | None = None
    steps: int | None = None
    sampling: float | None = None
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


@dataclass(kw_only=True)
class ModelOf:
    """One of the models that are compared.

    Attributes:
        name: unique in the comparison.
        source: the preset, file or run that it came from.
        options: what was set beside it by `--grid`, by dotted name.
        kind: its class.
        capabilities: what it can do, by the names of the interfaces.
        status: "ok" where every run ended; "failed" where one did not; "skipped" where one was not reached.
        trained_here: whether the comparison trained it; one that was trained before keeps its own budget.
        parameters: numbers that are learnt.
        yaml: the resolved specification of its first seed.
        graph: an SVG file, or empty.
        note: what a reader has to know.
    """

    name: str
    source: str
    kind: str
    status: Status
    runs: list[RunOf]
    yaml: str
    parameters: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    capabilities: list[str] = field(default_factory=list)
    failure: str = ""
    trained_here: bool = True
    budget: str = ""
    graph: str = ""
    note: str = ""


@dataclass(kw_only=True)
class Figure:
    """A row of the tidy table: one metric of one run.

    Attributes:
        value: None where it does not apply or was not found; then `absent` says why.
        standard_error: over examples. `monte_carlo_error`: of the estimate on these very examples.
        kind: how the truth stands to it.
        unit: "nats", "seconds", ...; empty for a plain number.
        group: the name of the `Group` within which figures of this metric may be compared.
        measure: of a likelihood: what it is a density of.
        examples, samples, split: what it was computed from.
    """

    model: str
    seed: int
    metric: str
    value: float | None
    standard_error: float | None = None
    monte_carlo_error: float | None = None
    kind: Kind = ""
    unit: str = ""
    group: str = ""
    absent: str = ""
    measure: str = ""
    examples: int | None = None
    samples: int | None = None
    split: str = ""
    note: str = ""


@dataclass(kw_only=True)
class Group:
    """Figures of one metric that may stand in one column: those of `models`. `reason` says what sets them apart from
    the other groups of that metric; it is empty where there is one group alone."""

    metric: str
    name: str
    models: list[str]
    reason: str = ""


@dataclass(kw_only=True)
class Interval:
    """The mean of a metric over seeds with its 95 % Student-t interval; of one seed there is none."""

    model: str
    metric: str
    group: str
    mean: float
    seeds: int
    standard_error: float | None = None
    half_width: float | None = None


@dataclass(kw_only=True)
class Difference:
    """a - b of a metric, paired by example: per example the mean over seeds of each.

    Attributes:
        standard_error: over the examples' differences.
        half_width: of the 95 % Student-t interval over the differences of equal seeds; None with fewer than two.
        kind: how the true difference stands to `value`, as far as the kinds of both say.
    """

    metric: str
    group: str
    a: str
    b: str
    value: float
    standard_error: float | None
    examples: int
    seeds: int
    half_width: float | None = None
    kind: Kind = ""


@dataclass(kw_only=True)
class Picture:
    """A picture of one model, of its first seed."""

    model: str
    what: Literal["samples", "reconstructions", "interpolation", "nearest", "data"]
    file: str
    caption: str


@dataclass(kw_only=True)
class Comparison:
    """One comparison. `command` makes it again; `created` is when it was last written."""

    title: str
    command: str
    created: str
    versions: dict[str, str]
    machine: dict[str, Any]
    budget: Budget
    seeds: list[int]
    data: DataUsed
    models: list[ModelOf]
    settings: dict[str, Any]
    complete: bool = False
    figures: list[Figure] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    intervals: list[Interval] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)

    def to_json(self) -> str:
        """With a line for each model, figure, and whatever else there are several of."""
        parts = []
        for key, value in asdict(self).items():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                lines = ",\n  ".join(json.dumps(item, allow_nan=False) for item in value)
                parts.append(f' "{key}": [\n  {lines}\n ]')
            else:
                parts.append(f' "{key}": {json.dumps(value, allow_nan=False)}')
        return "{\n" + ",\n".join(parts) + "\n}\n"


def read_comparison(folder: Path | str) -> Comparison:
    """What `DIR/comparison.json` holds.

    Raises:
        RunError: there is none, or it is damaged.
    """
    path = Path(folder) / FILE
    try:
        return TypeAdapter(Comparison).validate_json(path.read_bytes())
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}; is {folder} the --out of a comparison?") from error
    except ValueError as error:
        raise RunError(f"{path}: is damaged, or of another version of variata: compare again") from error
