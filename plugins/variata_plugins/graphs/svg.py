"""A graph as one self-contained SVG."""

from __future__ import annotations

import math
from html import escape
from typing import Literal

from .graph import Graph
from .layout import LARGE, SMALL, Box, Line, Text, laid_out

Theme = Literal["auto", "light", "dark"]
LIGHT = {"paper": "#ffffff", "ink": "#222222", "quiet": "#666666", "extra": "#1558c0", "fill": "#f4f4f4"}
DARK = {"paper": "#16181c", "ink": "#eeeeee", "quiet": "#a8a8a8", "extra": "#7fb2ff", "fill": "#24272e"}
TERMS = ("#d1495b", "#2e8b57", "#c77700", "#7b4fc9", "#00848c", "#a0522d", "#b0308f", "#6b7d00")


def render_svg(graph: Graph, theme: Theme = "auto") -> str:
    """The picture; "auto" follows the reader's light or dark setting."""
    picture = laid_out(graph)
    size = f'width="{picture.width:.0f}" height="{picture.height:.0f}"'
    view = f'viewBox="0 0 {picture.width:.0f} {picture.height:.0f}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" class="variata-graph" role="img" {size} {view}>']
    parts += [f"<title>{escape(graph.title)}: training and inference</title>", f"<style>{style(theme)}</style>"]
    parts += ['<rect class="paper" width="100%" height="100%"/>']
    parts += [_line(line) for line in picture.lines]
    parts += [_box(box) for box in picture.boxes]
    parts += [_text(text) for text in picture.texts]
    return "\n".join([*parts, "</svg>", ""])


def style(theme: Theme) -> str:
    """The rules of CSS that give graphs their colours; a page that holds many needs them once."""

    def colours(of: dict[str, str]) -> str:
        rules = [f"--{name}:{value}" for name, value in of.items()]
        return f".variata-graph{{{';'.join(rules)}}}"

    rules = [colours(DARK if theme == "dark" else LIGHT)]
    if theme == "auto":
        rules.append(f"@media (prefers-color-scheme:dark){{{colours(DARK)}}}")
    scope = ".variata-graph"
    rules += [f"{scope} text{{font-family:Helvetica,Arial,'DejaVu Sans',sans-serif}}"]
    rules += [f"{scope} rect.paper{{fill:var(--paper)}}"]
    for name in ("ink", "quiet", "extra"):
        rules.append(f"{scope} .{name}{{stroke:var(--{name});fill:none}}{scope} .head.{name}{{fill:var(--{name})}}")
        rules.append(f"{scope} text.{name}{{fill:var(--{name});stroke:none}}")
    rules += [f"{scope} rect.box{{fill:var(--fill);stroke-width:1.3}}{scope} .noise{{stroke-dasharray:4 3}}"]
    rules += [f"{scope} .term{i}{{stroke:{colour};fill:none;stroke-width:1.8}}" for i, colour in enumerate(TERMS)]
    return "".join(rules)


def _box(box: Box) -> str:
    extra = "extra" in box.style
    colour, radius = "extra" if extra else "ink", 3 if "part" in box.style else 16
    noise = " noise" if "noise" in box.style else ""
    corner = f'x="{box.x - box.width / 2:.1f}" y="{box.y - box.height / 2:.1f}"'
    size = f'width="{box.width:.1f}" height="{box.height:.1f}" rx="{radius}"'
    rows = [f'<rect class="{colour}{noise} box" {corner} {size}/>']
    base = box.y - 2 if box.detail else box.y + 5
    rows.append(_text(Text(box.x, base, box.label, colour, LARGE, middle=True)))
    if box.detail:
        rows.append(_text(Text(box.x, box.y + 13, box.detail, "quiet", SMALL, middle=True)))
    return "\n".join(rows)


def _line(line: Line) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in line.points)
    drawn = f'<polyline class="{line.style}" points="{points}"/>'
    if not line.head:
        return drawn
    (x0, y0), (x, y) = line.points[-2:]
    angle = math.atan2(y - y0, x - x0)
    corners = [(x, y)]
    corners += [(x - 8 * math.cos(angle + turn), y - 8 * math.sin(angle + turn)) for turn in (0.4, -0.4)]
    return drawn + f'<polygon class="head {line.style}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in corners)}"/>'


def _text(text: Text) -> str:
    anchor = ' text-anchor="middle"' if text.middle else ""
    place = f'x="{text.x:.1f}" y="{text.y:.1f}" font-size="{text.size:g}"'
    return f'<text class="{text.style}" {place}{anchor}>{escape(text.text)}</text>'
