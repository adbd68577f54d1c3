"""What the page is made of: sections of tables, charts, pictures and texts, ready for `page/page.html`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from variata import RunError

COLOURS = 10


@dataclass(frozen=True)
class Shown:
    """A model as the page knows it: an id that is safe anywhere, the name as it was given, a colour by number."""

    id: str
    name: str
    colour: int
    specification: str = ""


@dataclass(frozen=True)
class Column:
    """The head of a column; of tracks, with the values at its two sides."""

    title: str
    numeric: bool = False
    sorts: bool = True
    axis: tuple[str, str] | None = None


@dataclass(frozen=True)
class Track:
    """A value and its interval on the scale of its table, in per cent of its width.

    Attributes:
        says: what the pointer is told: lines, the first of which is a heading.
        kind: how the truth stands to the value.
        zero: where 0 is, if that is to be marked.
    """

    at: float
    low: float
    width: float
    kind: str
    says: str
    zero: float | None = None


@dataclass(frozen=True)
class Cell:
    """One cell: what it says (with the colour of `model`, where one is given), what stands small beside that, and what
    it is sorted by."""

    text: str
    beside: str = ""
    sort: str = ""
    style: str = ""
    model: Shown | None = None
    track: Track | None = None


@dataclass(frozen=True)
class Row:
    """A row, of the models that have to be shown for it to be shown; its first cell is its head."""

    models: tuple[Shown, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table with its caption; `filters` where rows can be picked out by what they say."""

    id: str
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    filters: bool = False


@dataclass(frozen=True)
class Tick:
    """A mark on an axis, between 0 and 1000."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """One learning curve: its points in a square of 1000, y downwards, as SVG writes them; and as numbers."""

    model: Shown
    name: str
    split: str
    points: str
    values: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """Learning curves over steps.

    Attributes:
        says: the chart in words, for who cannot see it.
        domain: "x0 x1 y0 y1", the values at the edges of the square.
    """

    title: str
    says: str
    models: tuple[Shown, ...]
    unit: str
    domain: str
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Card:
    """A picture of a model, or of the data: a PNG as data, or a graph as markup, or neither and the reason in `alt`."""

    model: Shown | None
    alt: str
    says: str = ""
    data: str = ""
    width: int = 0
    height: int = 0
    graph: str = ""


@dataclass(frozen=True)
class Cards:
    """Pictures of one kind, a model each."""

    title: str
    pictures: tuple[Card, ...]
    says: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Failure:
    """What went wrong, and whose it was."""

    model: Shown
    name: str
    status: str
    text: str


@dataclass(frozen=True)
class Section:
    """A part of the page. What is empty is not shown."""

    id: str
    title: str
    says: str = ""
    failures: Sequence[Failure] = ()
    tables: Sequence[Table] = ()
    narrow: bool = False
    charts: Sequence[Chart] = ()
    pictures: Sequence[Cards] = ()
    specifications: Sequence[Shown] = ()
    commands: Sequence[str] = ()

    @property
    def filled(self) -> bool:
        """Whether there is anything in it."""
        return any((self.failures, self.tables, self.charts, self.pictures, self.specifications, self.commands))


@dataclass(frozen=True)
class Page:
    """All of it."""

    title: str
    facts: Sequence[tuple[str, str]]
    models: Sequence[Shown]
    sections: Sequence[Section]
    footer: str = ""


@dataclass
class Models:
    """The models of a comparison by name, in its order; the colours come round again after the tenth."""

    names: Sequence[str]
    specifications: Sequence[str]
    known: dict[str, Shown] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for i, (name, text) in enumerate(zip(self.names, self.specifications, strict=True)):
            self.known[name] = Shown(f"m{i}", name, i % COLOURS, text)

    def __getitem__(self, name: str) -> Shown:
        """Raises:
        RunError: there is no such model.
        """
        if name not in self.known:
            raise RunError(f"the record of this comparison names a model that it does not hold ({name}): compare again")
        return self.known[name]
