"""Writes the page of a comparison, and its charts as PNG."""

from __future__ import annotations

from pathlib import Path

from variata import RunError

from ..record import read_comparison
from .html import rendered
from .painted import paint_curves, paint_tables
from .sections import page_of

PAGE = "report.html"
CHARTS = "charts"


def write_report(folder: Path, *, charts: bool = True) -> Path:
    """Writes `report.html` into the folder of a comparison, and into `charts/` a PNG of each section that has any.

    Args:
        charts: whether the PNGs are written as well.

    Raises:
        RunError: the folder holds no comparison, or cannot be written.
    """
    page = page_of(read_comparison(folder), folder)
    path = folder / PAGE
    try:
        path.write_text(rendered(page), encoding="utf-8")
        if charts:
            (folder / CHARTS).mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from error
    for section in page.sections if charts else ():
        tables = [table for table in section.tables if any(cell.track for row in table.rows for cell in row.cells)]
        if section.charts:
            paint_curves(section.charts, folder / CHARTS / f"{section.id}.png")
        elif tables:
            paint_tables(tables, folder / CHARTS / f"{section.id}.png")
    return path
