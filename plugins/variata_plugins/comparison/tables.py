"""A record as tables: for reading (Markdown), and for programs (CSV)."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields

from .record import Comparison, Difference, Figure, Group, Interval, ModelOf

_SECTIONS = {
    "Likelihoods": ("nll", "bits_per_dim", "elbo"),
    "Samples": (
        *("fid", "kid", "precision", "recall", "density", "coverage", "nearest_training_ratio", "sample_distinct"),
        *("sample_mean_distance", "sample_variance_ratio", "parzen"),
    ),
    "Reconstructions, codes and classes": (
        *("reconstruction_mse", "reconstruction_ssim", "kl", "active_units", "error"),
    ),
    "Cost": ("parameters", "training_seconds", "sampling_seconds"),
}
# In the CSV alone: the same in another form, and what says how far a figure may be trusted.
_DETAILS = ("log_likelihood", "accuracy", "cross_entropy", "reconstruction_psnr", "reconstruction")
_DETAILS += ("gap", "effective_samples", "mutual_information", "aggregate_kl", "log_partition", "annealing_gap")
TITLES = {
    "nll": "-log p(x), nats",
    "bits_per_dim": "bits per dimension",
    "elbo": "ELBO, nats",
    "kl": "KL, nats",
    "training_seconds": "training, s",
    "sampling_seconds": "1,000 samples, s",
    "nearest_training_ratio": "distance to training examples / usual",
    "sample_distinct": "distinct samples",
    "sample_mean_distance": "distance of means",
    "sample_variance_ratio": "ratio of variances",
    "parzen": "Parzen windows, nats",
    "reconstruction_mse": "reconstruction MSE",
    "reconstruction_psnr": "PSNR, dB",
    "reconstruction_ssim": "SSIM",
    "active_units": "active units",
    "error": "classification error",
    "cross_entropy": "cross entropy, nats",
}
_LOWER = ("nll", "bits_per_dim", "fid", "kid", "reconstruction_mse", "error", "training_seconds", "sampling_seconds")
_HIGHER = ("elbo", "precision", "recall", "density", "coverage", "reconstruction_psnr", "reconstruction_ssim")


@dataclass
class Column:
    """One column: the figures of a metric that may be compared.

    Attributes:
        better: "lower", "higher", or empty where neither is.
    """

    metric: str
    group: str
    title: str
    better: str


@dataclass
class Table:
    """Rows of text under titles, the model first; `notes` follow it."""

    title: str
    columns: list[Column]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def tables_of(record: Comparison) -> list[Table]:
    """The sections of a comparison, each a row for each model; those without any figure are left out."""
    metrics = list(dict.fromkeys(group.metric for group in record.groups))
    placed: set[str] = set()
    found = []
    for title, names in _SECTIONS.items():
        own = [metric for name in names for metric in metrics if metric.partition("[")[0] == name]
        placed |= set(own)
        found.append(_table(title, own, record))
    others = [metric for metric in metrics if metric not in placed and metric not in _DETAILS]
    found.append(_table("Other figures", others, record))
    return [table for table in found if table.columns]


def _table(title: str, metrics: Sequence[str], record: Comparison) -> Table:
    """Where a metric has several groups, each has a column of its own, numbered; a note says what a number means."""
    table, numbers = Table(title, []), dict[str, int]()
    of = {metric: [group for group in record.groups if group.metric == metric] for metric in metrics}
    for metric, groups in of.items():
        for group in groups:
            mark = ""
            if len(groups) > 1:
                mark = f" ({numbers.setdefault(group.name, len(numbers) + 1)})"
            table.columns.append(Column(metric, group.name, title_of(metric) + mark, better(metric)))
    for model in record.models:
        table.rows.append([model.name, *(cell(record, model, column) for column in table.columns)])
    apart = [group for groups in of.values() if len(groups) > 1 for group in groups]
    for name, number in numbers.items():
        own = [group for group in apart if group.name == name]
        models = list(dict.fromkeys(model for group in own for model in group.models))
        table.notes.append(f"({number}) {name}: {', '.join(models)}. {_sentence(own[0].reason)}".strip())
    table.notes += _counts([groups[0] for groups in of.values() if len(groups) == 1])
    return table


def _counts(groups: Sequence[Group]) -> list[str]:
    """Of how many samples and examples each figure is."""
    by_name: dict[str, list[str]] = {}
    for group in groups:
        if " samples" in group.name:
            by_name.setdefault(group.name, []).append(title_of(group.metric))
    return [f"{', '.join(titles)}: {name}." for name, titles in by_name.items()]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def title_of(metric: str) -> str:
    """What a metric is called in a table."""
    name, bracket, rest = metric.partition("[")
    return TITLES.get(name, name.upper() if name in ("fid", "kid") else name.replace("_", " ")) + bracket + rest


def better(metric: str) -> str:
    """Which direction is better, where one is."""
    name = metric.partition("[")[0]
    return "lower" if name in _LOWER else "higher" if name in _HIGHER else ""


def cell(record: Comparison, model: ModelOf, column: Column) -> str:
    """A figure with its errors, or why there is none."""
    interval = interval_of(record, model.name, column)
    if interval is not None:
        return figure_text(interval, kind_of(record, model.name, column))
    return absence(record, model, column).removeprefix(f"{model.kind}: ")  # whose row says of what it is said


def absence(record: Comparison, model: ModelOf, column: Column) -> str:
    """Why a cell has no figure: "GAN: no likelihood"."""
    elsewhere = any(i.model == model.name and i.metric == column.metric for i in record.intervals)
    reasons = [f.absent for f in record.figures if (f.model, f.metric) == (model.name, column.metric) and f.absent]
    return "other column" if elsewhere else reasons[0] if reasons else ""


def interval_of(record: Comparison, model: str, column: Column) -> Interval | None:
    """The mean over seeds that stands in a cell."""
    wanted = (model, column.metric, column.group)
    return next((i for i in record.intervals if (i.model, i.metric, i.group) == wanted), None)


def kind_of(record: Comparison, model: str, column: Column) -> str:
    """How the truth stands to a cell's figure."""
    wanted = (model, column.metric, column.group)
    return next((f.kind for f in record.figures if (f.model, f.metric, f.group) == wanted), "")


def figure_text(interval: Interval, kind: str = "") -> str:
    """ "<= 17.21 ± 0.24", and over seeds "<= 17.21 ± 0.24 (5 seeds ± 0.11)"."""
    error, width = interval.standard_error, interval.half_width
    decimals = _decimals(interval.mean, [e for e in (error, width) if e])
    text = f"{interval.mean:,.{decimals}f}"
    text += f" ± {error:.{decimals}f}" if error is not None else ""
    text += f" ({interval.seeds} seeds ± {width:.{decimals}f})" if width is not None else ""
    return f"{kind} {text}".strip()


def _decimals(value: float, errors: Sequence[float]) -> int:
    """As many as show the smallest error to two digits; four digits of the value where there is none."""
    size = min(errors) if errors else abs(value) / 100
    if size == 0 or not math.isfinite(size) or (not errors and value == round(value)):
        return 0
    return min(max(0, 1 - math.floor(math.log10(size))), 6)


def markdown(record: Comparison) -> str:
    """The whole comparison, to be read."""
    data, budget = record.data, record.budget
    seeds = f"seeds {', '.join(map(str, record.seeds))}" if len(record.seeds) > 1 else f"seed {record.seeds[0]}"
    counts = ", ".join(f"{count:,} {name}" for name, count in data.examples.items())
    lines = [f"# {record.title}", "", "```", record.command, "```", ""]
    lines += [
        f"Data: {data.use}, x {data.shape}, {data.views[0].words}; {counts}. Figures are of the {data.split} split."
    ]
    lines += [f"Budget: {budget}{f' ({budget.reason})' if budget.reason else ''}; {seeds}. Written {record.created}."]
    for view in data.views[1:]:
        lines.append(f"On another form of the same examples ({view.words}): {', '.join(view.models)}. {view.reason}.")
    of_views = [name for view in data.views[1:] for name in view.models]
    for model in record.models:
        if model.note and model.name not in of_views:
            lines.append(f"{model.name}: {model.note}.")
        if not model.trained_here:
            lines.append(f"{model.name} was trained before: {model.budget}.")
    if not record.complete:
        lines.append("This comparison was stopped before its end; the same command goes on with it.")
    failures = [f"- {model.name}: {model.failure}" for model in record.models if model.status == "failed"]
    lines += ["", "## What failed", "", *failures] if failures else []
    for table in tables_of(record):
        lines += ["", f"## {table.title}", "", *_grid([["model", *(c.title for c in table.columns)], *table.rows])]
        lines += [line for note in table.notes for line in ("", note)]
    if record.differences:
        lines += ["", "## Differences", "", *_grid([_DIFFERENCE, *map(_difference, record.differences)])]
    lines += ["", "## How to read it", "", *_LEGEND]
    return "\n".join(lines) + "\n"


_DIFFERENCE = ["a", "b", "-log p(x) of a less that of b, nats", "of", "examples"]
_LEGEND = [
    "- ± follows the standard error over examples: how far another test set would lie. (n seeds ± w) is the half-width",
    "  of the 95 % Student-t interval of the mean over seeds: how far other seeds would lie.",
    "- =, <=, >= and ~ say how the truth stands to a figure: exact, at most, at least, biased.",
    "- Differences are paired: of the same examples, so that what is hard for both cancels.",
    "- Figures of two columns of one name may not be compared; the line under the table says why.",
]


def _difference(found: Difference) -> list[str]:
    as_interval = Interval(
        model="",
        metric="",
        group="",
        mean=found.value,
        seeds=found.seeds,
        standard_error=found.standard_error,
        half_width=found.half_width,
    )
    return [found.a, found.b, figure_text(as_interval, found.kind), found.group, str(found.examples)]


def _grid(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a Markdown table, the first of them its titles; aligned, so that it can be read as it is."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return [lines[0], "| " + " | ".join("-" * max(3, width) for width in widths) + " |", *lines[1:]]


def tidy_csv(record: Comparison) -> str:
    """A row for each run and metric."""
    options = list(dict.fromkeys(name for model in record.models for name in model.options))
    models = {model.name: model for model in record.models}
    runs = {(model.name, run.seed): run for model in record.models for run in model.runs}
    names = [f.name for f in fields(Figure)]
    columns = ["model", "run", "seed", "status", *options, *(name for name in names if name not in ("model", "seed"))]
    rows = []
    for figure in record.figures:
        run = runs[figure.model, figure.seed]
        rows.append({**models[figure.model].options, **asdict(figure), "run": run.folder, "status": run.status})
    measured = {(figure.model, figure.seed) for figure in record.figures}
    for (name, seed), run in runs.items():
        if (name, seed) not in measured:
            row = {"model": name, "seed": seed, "run": run.folder, "status": run.status, "absent": run.failure}
            rows.append({**models[name].options, **row})
    return _csv(columns, rows)


def wide_csv(record: Comparison) -> str:
    """A row for each model: every figure as a number, with its errors and its kind. A metric of several groups has
    columns for each."""
    options = list(dict.fromkeys(name for model in record.models for name in model.options))
    columns, rows = ["model", "status", "failure", *options], []
    counts = Counter(group.metric for group in record.groups)
    named = {
        f"{group.metric} ({group.name})" if counts[group.metric] > 1 else group.metric: Column(
            group.metric, group.name, "", ""
        )
        for group in record.groups
    }
    for name in named:
        columns += [
            name,
            f"{name}: standard error",
            f"{name}: half-width over seeds",
            f"{name}: kind",
            f"{name}: absent",
        ]
    for model in record.models:
        row = {"model": model.name, "status": model.status, "failure": model.failure, **model.options}
        for name, column in named.items():
            interval = interval_of(record, model.name, column)
            if interval is None:
                row[f"{name}: absent"] = absence(record, model, column)
                continue
            row |= {name: interval.mean, f"{name}: standard error": interval.standard_error}
            row |= {f"{name}: half-width over seeds": interval.half_width}
            row |= {f"{name}: kind": kind_of(record, model.name, column)}
        rows.append(row)
    return _csv(columns, rows)


def differences_csv(record: Comparison) -> str:
    """A row for each pair of models."""
    return _csv([f.name for f in fields(Difference)], [asdict(found) for found in record.differences])


def _csv(columns: Sequence[str], rows: Sequence[dict[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
