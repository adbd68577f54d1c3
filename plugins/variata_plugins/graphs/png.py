"""A graph as PNG, painted by matplotlib from the same layout, on white."""

from __future__ import annotations

from io import BytesIO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from .graph import Graph
from .layout import LARGE, SMALL, Box, laid_out
from .svg import LIGHT, TERMS

_POINTS = 72  # the layout's unit is a point


def render_png(graph: Graph, dpi: int = 150) -> bytes:
    """The picture."""
    picture = laid_out(graph)
    figure = Figure(figsize=(picture.width / _POINTS, picture.height / _POINTS), dpi=dpi, facecolor=LIGHT["paper"])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, picture.width)
    axes.set_ylim(picture.height, 0)
    for line in picture.lines:
        x, y = zip(*line.points, strict=True)
        axes.plot(x, y, color=_colour(line.style), linewidth=1.2, solid_capstyle="butt")
        if line.head:
            arrow = {"arrowstyle": "-|>", "color": _colour(line.style), "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", line.points[-1], line.points[-2], arrowprops=arrow)
    for box in picture.boxes:
        axes.add_patch(_patch(box))
        base = box.y - 2 if box.detail else box.y + 5
        axes.text(box.x, base, box.label, color=_colour(box.style), size=LARGE, ha="center", zorder=4)
        axes.text(box.x, box.y + 13, box.detail, color=LIGHT["quiet"], size=SMALL, ha="center", zorder=4)
    for text in picture.texts:
        align = "center" if text.middle else "left"
        axes.text(text.x, text.y, text.text, color=_colour(text.style), size=text.size, ha=align)
    buffer = BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _patch(box: Box) -> FancyBboxPatch:
    corner = box.x - box.width / 2, box.y - box.height / 2
    shape = f"round,pad=0,rounding_size={3 if 'part' in box.style else min(16.0, box.width / 2 - 1)}"
    line = "--" if "noise" in box.style else "-"
    patch = FancyBboxPatch(corner, box.width, box.height, shape, linestyle=line, zorder=3)
    patch.set_edgecolor(_colour(box.style))
    patch.set_facecolor(LIGHT["fill"])
    return patch


def _colour(style: str) -> str:
    """Of a style's name: a term's, or what it is beside a plain autoencoder."""
    if style.startswith("term"):
        return TERMS[int(style.removeprefix("term"))]
    return LIGHT[next((name for name in ("extra", "quiet") if name in style.split()), "ink")]
