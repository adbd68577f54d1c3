"""The columns of tables: how often their values occur, a panel for each column, in the units of the source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from variata import Column, DataSpec

_MOST, _ACROSS, _BINS = 12, 4, 20


def draw_columns(sets: Mapping[str, Tensor], spec: DataSpec, path: Path, title: str) -> None:
    """Sets of rows, `[n, columns]` each, side by side; of a wide table its first columns. Missing values are left
    out."""
    from .figures import save

    columns = spec.columns[:_MOST]
    across = min(_ACROSS, len(columns))
    down = -(-len(columns) // across)
    figure = Figure(figsize=(2.6 * across, 2.1 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).flatten()
    for panel, place in zip(panels, range(len(columns)), strict=False):
        values = {name: rows[:, place].cpu().double().numpy() for name, rows in sets.items()}
        _draw(panel, {name: found[~np.isnan(found)] for name, found in values.items()}, columns[place])
    for panel in panels[len(columns) :]:
        panel.set_axis_off()
    panels[0].legend(fontsize=7)
    more = f" (the first {len(columns)} of {len(spec.columns)} columns)" if len(spec.columns) > len(columns) else ""
    figure.suptitle(title + more)
    save(figure, path)


def _draw(axes: Any, sets: Mapping[str, np.ndarray], column: Column) -> None:
    if column.levels:
        for i, (name, found) in enumerate(sets.items()):
            heights = np.bincount(found.astype(int), minlength=len(column.levels)) / max(1, len(found))
            axes.bar(np.arange(len(heights)) + 0.4 * i, heights, width=0.4, alpha=0.8, label=name)
        axes.set_xticks(np.arange(len(column.levels)) + 0.2, column.levels, fontsize=6)
    else:
        scaled = {n: column.mean + column.std * v if column.kind == "numeric" else v for n, v in sets.items()}
        together = np.concatenate(list(scaled.values()))
        bins = np.histogram_bin_edges(together, bins=_BINS) if len(together) else _BINS
        for name, found in scaled.items():
            axes.hist(found, bins=bins, density=len(found) > 0, alpha=0.5, label=name)
    axes.set_title(column.name, fontsize=8)
    axes.tick_params(labelsize=6)
