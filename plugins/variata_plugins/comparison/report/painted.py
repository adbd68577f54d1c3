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
_COLUMNS, _ABOVE, _BELOW = 3, 0.35, 0.5  # panels beside each other, and room in inches
_LONGEST, _INCHES_PER_LETTER = 48, 0.058
_DPI, _MOST_PIXELS = 110, 30_000


def paint_curves(charts: Sequence[Chart], path: Path) -> None:
    """Learning curves, a panel each, with the names of the lines in it."""
    figure, panels = _panels(len(charts), [3.2] * -(-len(charts) // _COLUMNS), (0.7, 3.75, 0.15))
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
    longest = max(len(name) for table in tables for name in _names(table))
    figure, panels = _panels(len(tables), heights, (0.3 + _INCHES_PER_LETTER * longest, 2.1, 1.3))
    for axes, table in zip(panels, tables, strict=True):
        drawn = [(row, cell.track) for row in table.rows for cell in row.cells if cell.track]
        tracks, rows_at = [track for _, track in drawn], range(len(drawn))
        colours = [_colour(row.models[0]) for row, _ in drawn]
        low, high = [t.low for t in tracks], [t.low + t.width for t in tracks]
        axes.hlines(rows_at, low, high, colours, linewidth=4, alpha=0.45)
        axes.scatter([t.at for t in tracks], rows_at, s=25, c=colours, zorder=3)
        for y, track in enumerate(tracks):
            axes.text(103, y, _plain(track.says.split("\n")[1]), fontsize=7, va="center")
        axes.set_yticks(rows_at, map(_plain, _names(table)), fontsize=7)
        axes.set(xlim=(0, 100), ylim=(len(drawn) - 0.4, -0.6))
        axis = next((column.axis for column in table.columns if column.axis), None)
        axes.set_xticks((0, 100) if axis else (), axis or (), fontsize=7)
        axes.set_title(_plain(table.title), fontsize=10, loc="left")
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    _save(figure, path)


def _names(table: Table) -> list[str]:
    """What stands beside the tracks of a table, each cut where it is very long."""
    names = [cell.track.says.split("\n")[0] for row in table.rows for cell in row.cells if cell.track]
    return [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]


def _panels(count: int, heights: Sequence[float], widths: tuple[float, float, float]) -> tuple[Figure, list[Axes]]:
    """Panels in rows of so many inches, of a width that has room at its left and its right; matplotlib's own layouts
    take seconds here."""
    (left, inside, _), each = widths, sum(widths)
    width, height = each * min(_COLUMNS, count), sum(heights)
    figure, panels = Figure(figsize=(width, height), facecolor="white"), []
    for i in range(count):
        row, column = divmod(i, _COLUMNS)
        bottom = height - sum(heights[: row + 1]) + _BELOW
        box = (column * each + left) / width, bottom / height, inside / width
        panels.append(figure.add_axes((*box, (heights[row] - _ABOVE - _BELOW) / height)))
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
