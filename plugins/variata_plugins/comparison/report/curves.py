"""Learning curves as charts: the objective of each model by itself, since each has its own, and every other logged
quantity with a line for each model that has it."""

from __future__ import annotations

from collections.abc import Iterable

from ..record import Comparison
from .contents import Chart, Line, Models, Shown, Tick
from .numbers import said, ticks

_MOST = 400
_OWN = "loss"

Curve = tuple[Shown, str, str, list[tuple[int, float]]]
"""Model, its name with the seed, split, points."""


def charts_of(comparison: Comparison, models: Models) -> tuple[list[Chart], list[Chart]]:
    """The charts of the models' objectives, and those of what else was logged."""
    by_term: dict[str, list[Curve]] = {}
    for model in comparison.models:
        for run in model.runs:
            seed = f" (seed {run.seed})" if len(model.runs) > 1 else ""
            for key, points in run.curves.items():
                split, _, term = key.partition("/")
                if points:
                    by_term.setdefault(term, []).append((models[model.name], f"{model.name}{seed}", split, points))
    own, shared = [], []
    for term, curves in sorted(by_term.items(), key=lambda item: -len({model.id for model, *_ in item[1]})):
        if term.partition("/")[0] != _OWN:
            shared.append(_chart(term, curves))
            continue
        for model in dict.fromkeys(model for model, *_ in curves):
            own.append(_chart(f"{model.name}: {term}", [curve for curve in curves if curve[0] is model]))
    return own, shared


def _chart(title: str, curves: Iterable[Curve]) -> Chart:
    curves = list(curves)
    xs = [x for *_, points in curves for x, _ in points]
    ys = [y for *_, points in curves for _, y in points]
    (x0, x1), (y0, y1) = _range(xs), _range(ys)
    lines = []
    for model, name, split, points in curves:
        kept = points[:: -(-len(points) // _MOST)]
        kept = kept if kept[-1] == points[-1] else [*kept, points[-1]]
        placed = " ".join(f"{_at(x, x0, x1):.6g},{1000 - _at(y, y0, y1):.6g}" for x, y in kept)
        lines.append(Line(model, f"{name}, {split}", split, placed, tuple(kept)))
    ends = "; ".join(
        f"{name}, {split}: {said(points[-1][1])} at step {points[-1][0]:,}" for _, name, split, points in curves
    )
    return Chart(
        title=title,
        says=f"Learning curves of {title}. {ends}.",
        models=tuple(dict.fromkeys(model for model, *_ in curves)),
        unit="step",
        domain=" ".join(map(repr, (x0, x1, y0, y1))),
        x=tuple(Tick(_at(x, x0, x1), f"{x:,g}" if x < 1e6 else f"{x:.0e}") for x in ticks(x0, x1, 4)),
        y=tuple(Tick(1000 - _at(y, y0, y1), f"{y:,.6g}") for y in ticks(y0, y1)),
        lines=tuple(lines),
    )


def _range(values: list[float] | list[int]) -> tuple[float, float]:
    low, high = float(min(values)), float(max(values))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _at(value: float, low: float, high: float) -> float:
    return 1000 * (value - low) / (high - low)
