"""Figures as tables: one for each metric and group, where values may stand in one column; and all of them, tidily."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from statistics import fmean

from ..record import Comparison, Difference, Figure, Interval
from ..tables import Column as Comparable
from ..tables import title_of
from .contents import Cell, Column, Models, Row, Shown, Table, Track
from .numbers import SIGNS, error_said, said

NOTHING = "–"
_OVER_SEEDS = Column("Over seeds", numeric=True)


def metric_tables(comparison: Comparison, models: Models, columns: Sequence[Comparable]) -> list[Table]:
    """A table for each metric and group, with a track for each model."""
    tables = []
    for column in columns:
        wanted = column.metric, column.group
        figures = [f for f in comparison.figures if (f.metric, f.group) == wanted and f.value is not None]
        group = next((g for g in comparison.groups if (g.metric, g.name) == wanted), None)
        if figures:
            tables.append(_metric_table(comparison, models, column, figures, group.reason if group else ""))
    return tables


def absent_table(comparison: Comparison, models: Models, metrics: Sequence[str], table: str, of: str) -> list[Table]:
    """What does not apply to whom, and why, of the figures of a section."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for figure in comparison.figures:
        if figure.value is None and figure.metric in metrics:
            found.setdefault((figure.model, figure.absent), {})[figure.metric] = None
    rows = [
        Row(
            (models[model],),
            (Cell(model), Cell("; ".join(map(title_of, names)), style="long"), Cell(why, style="reason")),
        )
        for (model, why), names in found.items()
    ]
    columns = (Column("Model"), Column("What"), Column("Because"))
    return [Table(table, f"{of}: what does not apply, and why", "", columns, tuple(rows))] if rows else []


def difference_tables(comparison: Comparison, models: Models) -> list[Table]:
    """A table of differences for each metric and group."""
    grouped: dict[tuple[str, str], list[Difference]] = {}
    for difference in comparison.differences:
        grouped.setdefault((difference.metric, difference.group), []).append(difference)
    tables = []
    for (metric, group), found in grouped.items():
        scale = _scale([(d.value, 2 * (d.standard_error or 0.0)) for d in found] + [(0.0, 0.0)])
        rows = [_difference_row(difference, models, scale) for difference in found]
        heads = [Column("Model a"), Column("Model b"), Column("a − b", numeric=True), _axis(scale)]
        if any(difference.half_width is not None for difference in found):
            heads.append(_OVER_SEEDS)
        else:
            rows = [Row(row.models, row.cells[:-1]) for row in rows]
        paired = f"Paired by example: {found[0].examples:,} examples, {_seeds(found[0].seeds)}."
        note = f"{_of(group)} {paired} The bar is two standard errors wide to each side."
        title = f"{capital(title_of(metric))}: a − b"
        tables.append(Table(_id("pairs", metric, group), title, note, tuple(heads), tuple(rows)))
    return tables


def _difference_row(found: Difference, models: Models, scale: tuple[float, float]) -> Row:
    a, b, error, half = models[found.a], models[found.b], found.standard_error, found.half_width
    number, beside = f"{_sign(found.kind)}{said(found.value, error)}", _error(error)
    counts = f"{found.examples:,} examples, {_seeds(found.seeds)}"
    says = f"{a.name} − {b.name}\n{number} {beside}\n{counts}"
    track = _track(scale, found.value, 2 * (error or 0.0), found.kind, says, zero=True)
    cells = (
        Cell(a.name),
        Cell(b.name, sort=b.name, style="name", model=b),
        Cell(number, beside, _key(found.value), "number"),
        Cell("", sort=_key(found.value), track=track),
        Cell(_error(half), sort=_key(half), style="number"),
    )
    return Row((a, b), cells)


def every_figure(comparison: Comparison, models: Models) -> Table:
    """All figures, a row for each run and metric."""
    numeric = ("Seed", "Value", "Standard error", "Monte Carlo error")
    heads = ("Model", *numeric[:1], "Metric", *numeric[1:], "Kind", "Unit", "Group", "Of", "Note")
    columns = tuple(Column(head, numeric=head in numeric) for head in heads)
    rows = []
    for figure in comparison.figures:
        value, error, by_chance = figure.value, figure.standard_error, figure.monte_carlo_error
        note = "; ".join(text for text in (figure.measure, figure.note, figure.absent) if text)
        cells = (
            Cell(figure.model),
            Cell(str(figure.seed), sort=str(figure.seed), style="number"),
            Cell(figure.metric, sort=figure.metric),
            Cell(NOTHING if value is None else said(value, error), sort=_key(value), style="number"),
            Cell("" if error is None else error_said(error), sort=_key(error), style="number"),
            Cell("" if by_chance is None else error_said(by_chance), sort=_key(by_chance), style="number"),
            Cell(SIGNS[figure.kind], sort=figure.kind),
            Cell(figure.unit, sort=figure.unit),
            Cell(figure.group, sort=figure.group),
            Cell(_counts(figure), sort=str(figure.examples or ""), style="one-line"),
            Cell(note, sort=note, style="long"),
        )
        rows.append(Row((models[figure.model],), cells))
    note = "The same rows are in figures.csv."
    return Table("every-figure", "Every figure of every run", note, columns, tuple(rows), filters=True)


def _metric_table(
    comparison: Comparison, models: Models, column: Comparable, figures: list[Figure], reason: str
) -> Table:
    over = {i.model: i for i in comparison.intervals if (i.metric, i.group) == (column.metric, column.group)}
    by_model: dict[str, list[Figure]] = {}
    for figure in figures:
        by_model.setdefault(figure.model, []).append(figure)
    values = {name: over.get(name) or _only(found) for name, found in by_model.items()}
    scale = _scale([(value.mean, _spread(value)) for value in values.values()])
    rows = [_metric_row(models[name], values[name], found[0], scale) for name, found in by_model.items()]
    heads = [Column("Model"), Column("Value", numeric=True), _axis(scale)]
    if any(value.half_width is not None for value in values.values()):
        heads.append(_OVER_SEEDS)
    else:
        rows = [Row(row.models, row.cells[:-1]) for row in rows]
    better = f"{column.better.capitalize()} is better." if column.better else ""
    note = " ".join(text for text in (better, _of(column.group), _sentence(reason)) if text)
    return Table(_id("metric", column.metric, column.group), capital(column.title), note, tuple(heads), tuple(rows))


def _metric_row(model: Shown, value: Interval, figure: Figure, scale: tuple[float, float]) -> Row:
    error, half, seeds = value.standard_error, value.half_width, _seeds(value.seeds)
    digits = min((e for e in (error, half) if e), default=None)
    number, beside = f"{_sign(figure.kind)}{said(value.mean, digits)}", _error(error)
    lines = [model.name, f"{number} {beside}".strip()]
    lines += [f"{_error(half)} over {seeds} (95 %)"] if half is not None else []
    lines += [text for text in (_counts(figure), figure.note) if text]
    track = _track(scale, value.mean, _spread(value), figure.kind, "\n".join(lines))
    cells = (
        Cell(model.name),
        Cell(number, beside, _key(value.mean), "number"),
        Cell("", sort=_key(value.mean), track=track),
        Cell(_error(half) or seeds, sort=_key(half), style="number"),
    )
    return Row((model,), cells)


def _only(figures: list[Figure]) -> Interval:
    """Of figures that no interval over seeds was computed of."""
    f = figures[0]
    mean = fmean(figure.value for figure in figures if figure.value is not None)
    error = f.standard_error if len(figures) == 1 else None
    return Interval(model=f.model, metric=f.metric, group=f.group, mean=mean, seeds=len(figures), standard_error=error)


def _spread(value: Interval) -> float:
    """How far the bar of a value reaches to each side: the interval over seeds where there is one, else two standard
    errors over examples."""
    return value.half_width if value.half_width is not None else 2 * (value.standard_error or 0.0)


def _scale(values: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The least and the largest value with its interval, and a little room."""
    values = list(values)
    low, high = min(v - e for v, e in values), max(v + e for v, e in values)
    room = 0.04 * (high - low) or 0.5
    return low - room, high + room


def _axis(scale: tuple[float, float]) -> Column:
    """The head of a column of tracks: what its two sides are."""
    low, high = (said(value, (scale[1] - scale[0]) / 10) for value in scale)
    return Column(f"{low} to {high}", sorts=False, axis=(low, high))


def _track(
    scale: tuple[float, float], value: float, spread: float, kind: str, says: str, *, zero: bool = False
) -> Track:
    low, high = scale
    zero_at, at, left, right = (
        round(100 * (x - low) / (high - low), 2) for x in (0.0, value, value - spread, value + spread)
    )
    return Track(at, left, round(right - left, 2), kind, says, zero_at if zero else None)


def _key(value: float | None) -> str:
    """What a cell is sorted by: the number in full."""
    return "" if value is None else repr(float(value))


def _sign(kind: str) -> str:
    return f"{SIGNS[kind]} " if kind else ""


def _error(error: float | None) -> str:
    return "" if error is None else f"± {error_said(error)}"


def _of(group: str) -> str:
    return "" if group in ("", "all") else f"Of {group}."


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count != 1 else ''}"


def _counts(figure: Figure) -> str:
    """What a figure was computed from."""
    parts = [f"{figure.examples:,} {figure.split} examples".replace("  ", " ")] if figure.examples else []
    return ", ".join([*parts, *([f"{figure.samples:,} samples"] if figure.samples else [])])


def capital(text: str) -> str:
    """A text whose first letter is a capital.

    >>> capital("nats"), capital("-log p(x)")
    ('Nats', '-log p(x)')
    """
    return f"{text[:1].upper()}{text[1:]}"


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{capital(text)}{'' if text.endswith('.') else '.'}" if text else ""


def _id(*parts: str) -> str:
    """An id that is safe anywhere and unlike those of other parts."""
    plain = "-".join(re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
    return f"{plain}-{sum(ord(c) * 31**i for i, c in enumerate('|'.join(parts))) % 99991}"
