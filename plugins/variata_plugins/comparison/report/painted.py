"""The charts of a page as PNG, by matplotlib, on white: what the page draws on hovering stands in them as text."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from variata import RunError

from .contents import Chart, Shown, Table

_COLOURS = (
    *("#1f6fd6", "#d1495b", "#2e8b57", "#b86e00", "#7b4fc9"),
    *("#00808a", "#a0522d", "#b0308f", "#6b7d00", "#5a6472"),
)
_COLUMNS, _WIDTH, _ABOVE, _BELOW = 3, 4.6, 0.35, 0.5
_DPI, _MOST_PIXELS = 110, 30_000


def paint_curves(charts: Sequence[Chart], path: Path) -> None:
    """Learning curves, a panel each, with the names of the lines in it."""
    figure, panels = _panels(len(charts), [3.2] * -(-len(charts) // _COLUMNS), 0.7, 0.15)
    for axes, chart in zip(panels, charts, strict=True):
        for line in chart.lines:
            style = ":" if line.split == "train" else "-"
            x, y = zip(*line.values, strict=True)
            axes.plot(x, y, style, color=_colour(line.model), label=_plain(line.name), linewidth=1.3)
        axes.set_title(_plain(chart.title), fontsize=10)
        axes.set_xlabel(chart.unit, fontsize=8)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6, framealpha=0.6)
        axes.tick_params(labelsize=8)
    _save(figure, path)


def paint_tables(tables: Sequence[Table], path: Path) -> None:
    """Tables with tracks, a panel each: a dot for each model, with its bar and its value."""
    rows = [tables[i : i + _COLUMNS] for i in range(0, len(tables), _COLUMNS)]
    heights = [_ABOVE + _BELOW + 0.24 * max(len(table.rows) for table in row) for row in rows]
    figure, panels = _panels(len(tables), heights, 1.2, 1.25)
    for axes, table in zip(panels, tables, strict=True):
        names = []
        for row in table.rows:
            track = next((cell.track for cell in row.cells if cell.track), None)
            if track is None:
                continue
            y, colour = len(names), _colour(row.models[0])
            ends = track.low, track.low + track.width
            axes.plot(ends, (y, y), color=colour, linewidth=4, alpha=0.45, solid_capstyle="butt")
            axes.plot(track.at, y, "o", color=colour, markersize=5)
            heading, value = (*track.says.split("\n"), "")[:2]
            axes.text(103, y, _plain(value), fontsize=7, va="center")
            names.append(_plain(heading))
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.set(xlim=(0, 100), ylim=(len(names) - 0.4, -0.6))
        axis = next((column.axis for column in table.columns if column.axis), None)
        axes.set_xticks((0, 100) if axis else (), axis or (), fontsize=7)
        axes.set_title(_plain(table.title), fontsize=10, loc="left")
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    _save(figure, path)


def _panels(count: int, heights: Sequence[float], left: float, right: float) -> tuple[Figure, list[Axes]]:
    """Panels in rows of so many inches, with room in inches beside each; matplotlib's own layouts take seconds here."""
    columns, height = min(_COLUMNS, count), sum(heights)
    figure, panels = Figure(figsize=(_WIDTH * columns, height), facecolor="white"), []
    for i in range(count):
        row, column = divmod(i, _COLUMNS)
        bottom = height - sum(heights[: row + 1]) + _BELOW
        box = (column * _WIDTH + left, bottom, _WIDTH - left - right, heights[row] - _ABOVE - _BELOW)
        width = figure.get_figwidth()
        panels.append(figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height)))
    return figure, panels


def _colour(model: Shown) -> str:
    return _COLOURS[model.colour]


def _plain(text: str) -> str:
    """A name that is not to be read as a formula."""
    return text.replace("$", r"\$")


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    dpi = min(_DPI, _MOST_PIXELS / max(figure.get_size_inches()))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name that the font cannot write
            figure.savefig(path, dpi=dpi, format="png", metadata={"Software": None})
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from error
