"""Where everything of a graph stands: nodes in columns and rows, each term of the loss on a lane of its own below them.

Widths are those of DejaVu Sans, which is wider than what most viewers show, so that text stays inside its box.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from .graph import Graph, Panel

_PAD, _GAP, _BOX, _ROW, _LANE, _MARGIN = 10.0, 44.0, 40.0, 68.0, 24.0, 16.0
LARGE, SMALL = 14.0, 10.5


@dataclass(frozen=True)
class Box:
    """A node: its rectangle by the centre, and its two lines."""

    x: float
    y: float
    width: float
    height: float
    label: str
    detail: str
    style: str


@dataclass(frozen=True)
class Line:
    """A line through points, with a head at its end or without."""

    points: tuple[tuple[float, float], ...]
    style: str
    head: bool = True


@dataclass(frozen=True)
class Text:
    """A text that begins (or has its middle) at a point of its base line."""

    x: float
    y: float
    text: str
    style: str
    size: float = SMALL
    middle: bool = False


@dataclass
class Picture:
    """Everything that is to be painted."""

    width: float = 0.0
    height: float = 0.0
    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)


@cache
def text_width(text: str, size: float) -> float:
    """Width of a text in DejaVu Sans."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, size=size).get_extents().x1) if text.strip() else 0.0


def laid_out(graph: Graph) -> Picture:
    """Both panels, one below the other, with the terms of the loss below the first."""
    picture = Picture()
    y = _MARGIN + LARGE
    picture.texts.append(Text(_MARGIN, y, graph.title, "ink", LARGE + 2))
    y += 12
    boxes, y = _panel(picture, graph.training, y)
    y = _terms(picture, graph, boxes, y) + (24 if graph.weights else 0)
    _, y = _panel(picture, graph.inference, y)
    picture.texts.append(Text(_MARGIN, y + 18, "blue: what a plain autoencoder has not", "extra"))
    right = [box.x + box.width / 2 for box in picture.boxes]
    right += [text.x + text_width(text.text, text.size) * (0.5 if text.middle else 1) for text in picture.texts]
    picture.width, picture.height = max(right) + _MARGIN, y + 18 + _MARGIN
    return picture


def _terms(picture: Picture, graph: Graph, boxes: dict[str, Box], y: float) -> float:
    """A lane for each term of the loss below `y`, with its name to the right of all of them; where they end."""
    labels = []
    for number, summand in enumerate(sorted(graph.summands(), key=lambda s: s.phase)):
        first, last = (boxes[name] for name in summand.between)
        style, y = f"term{number % 8}", y + _LANE
        ends = []
        for box in (first, last):
            points = _down(box, list(boxes.values()), number, y)
            ends.append(points[-1][0])
            picture.lines.append(Line(points, style, False))
        ends.sort()
        picture.lines.append(Line(((ends[0], y), (ends[1], y)), style, False))
        weight = "" if summand.weight == 1 else f"{summand.weight:g} × "
        label = f"{weight}{summand.name}  ({summand.phase})"
        labels.append((ends[1], y + 4, label, "extra" if summand.extra else "ink"))
    right = max((end for end, *_ in labels), default=0.0) + 8
    picture.texts += [Text(right, *label) for _, *label in labels]
    return y


def _down(box: Box, boxes: list[Box], number: int, y: float) -> tuple[tuple[float, float], ...]:
    """A way from the underside of a box to a lane at `y`, through the space beside the column where another box lies
    below it."""
    x, bottom = box.x + 0.12 * (number % 6 - 2.5) * box.width, box.y + box.height / 2
    if not any(other.y > box.y and abs(other.x - x) <= other.width / 2 for other in boxes):
        return (x, bottom), (x, y)
    left = min(other.x - other.width / 2 for other in boxes if other.x == box.x)
    beside, turn = max(left - 8 - 4 * (number % 6), 2.0), bottom + 6 + 2 * (number % 6)
    return (x, bottom), (x, turn), (beside, turn), (beside, y)


def _panel(picture: Picture, panel: Panel, top: float) -> tuple[dict[str, Box], float]:
    """The boxes and arrows of a panel below `top`; its boxes by name, and where it ends."""
    picture.texts.append(Text(_MARGIN, top + 14, panel.title, "quiet", SMALL + 1))
    rows = [node.row for node in panel.nodes.values()]
    widths: dict[int, float] = {}
    for node in panel.nodes.values():
        width = 2 * _PAD + max(text_width(node.label, LARGE), text_width(node.detail, SMALL))
        widths[node.column] = max(widths.get(node.column, 0.0), width)
    gap = _GAP + max((text_width(arrow.label, SMALL) for arrow in panel.arrows), default=0.0) / 2
    centres, x = {}, _MARGIN
    for column in sorted(widths):
        centres[column], x = x + widths[column] / 2, x + widths[column] + gap
    loops = any(panel.nodes[a.source].column >= panel.nodes[a.target].column for a in panel.arrows)
    first = top + 28 + _BOX / 2 + (26 if loops else 0) - min(rows, default=0) * _ROW
    boxes: dict[str, Box] = {}
    for name, node in panel.nodes.items():
        width = 2 * _PAD + max(text_width(node.label, LARGE), text_width(node.detail, SMALL))
        style = f"{node.kind}{' extra' if node.extra else ''}"
        place = centres[node.column], first + node.row * _ROW
        boxes[name] = Box(*place, width, _BOX, node.label, node.detail, style)
    picture.boxes += boxes.values()
    for arrow in panel.arrows:
        _arrow(picture, boxes[arrow.source], boxes[arrow.target], arrow.label, "extra" if arrow.extra else "ink")
    return boxes, first + max(rows, default=0) * _ROW + _BOX / 2 + 8


def _arrow(picture: Picture, a: Box, b: Box, label: str, style: str) -> None:
    """From side to side where the target lies further right, else from top to bottom, or around as a loop."""
    if a.x + a.width / 2 < b.x - b.width / 2:
        start, end = (a.x + a.width / 2, a.y), (b.x - b.width / 2, b.y)
        far = any(a.x < c.x < b.x and abs(c.y - a.y) < 1 for c in picture.boxes)
        beside = max(c.x + c.width / 2 for c in picture.boxes if c.x == a.x) + 14
        middle = beside if far else b.x - b.width / 2 - 14
        points = (start, (middle, a.y), (middle, b.y), end) if not far or a.y != b.y else _over(a, b)
        at = (start[0] + end[0]) / 2, min(a.y, b.y) - 6
    elif a.x == b.x and a.y != b.y:
        sign = 1 if b.y > a.y else -1
        points = ((a.x, a.y + sign * a.height / 2), (b.x, b.y - sign * b.height / 2))
        at = a.x + 6 + text_width(label, SMALL) / 2, (a.y + b.y) / 2 + 4
    else:
        points = _over(a, b)
        at = (a.x + b.x) / 2, points[1][1] - 4
    picture.lines.append(Line(points, style))
    if label:
        picture.texts.append(Text(*at, label, style, SMALL, middle=True))


def _over(a: Box, b: Box) -> tuple[tuple[float, float], ...]:
    """A way from the top of one box to the top of another, above both."""
    y = min(a.y, b.y) - _BOX / 2 - 14
    shift = 14.0 if a is b else 0.0
    return ((a.x + shift, a.y - a.height / 2), (a.x + shift, y), (b.x - shift, y), (b.x - shift, b.y - b.height / 2))
