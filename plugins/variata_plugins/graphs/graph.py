"""The conceptual graph of a model: what it is made of while it trains, and how it is used afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

from variata import PluginError, suggest

NodeKind = Literal["variable", "law", "part", "noise"]


@dataclass(frozen=True)
class Node:
    """One box.

    Attributes:
        name: unique in its panel; others refer to it by this.
        label, detail: its first and its second line.
        kind: a "variable" (x, z), a "law" (p(z), mu and sigma), a "part" (a network), or "noise".
        extra: whether a plain autoencoder has no such thing.
        column, row: where it stands; row 0 is the main one, negative rows lie above it.
    """

    name: str
    label: str
    detail: str = ""
    kind: NodeKind = "variable"
    extra: bool = False
    column: int = 0
    row: int = 0


@dataclass(frozen=True)
class Arrow:
    """What is computed, or drawn, from what. One that leads back, or to its own node, is a loop."""

    source: str
    target: str
    label: str = ""
    extra: bool = False


@dataclass(frozen=True)
class Summand:
    """A term of an objective, as a line between two nodes of the training panel.

    Attributes:
        name: as the loss calls it.
        phase: the phase that minimises it.
        between: the two nodes that it compares or constrains; twice the same where it concerns one.
        weight: what it is multiplied by once warm-ups are over.
        extra: whether a plain autoencoder has no such term.
    """

    name: str
    phase: str
    between: tuple[str, str]
    weight: float = 1.0
    extra: bool = True


@dataclass
class Panel:
    """Nodes and arrows, in the order in which they were added."""

    title: str
    nodes: dict[str, Node] = field(default_factory=dict)
    arrows: list[Arrow] = field(default_factory=list)

    def node(
        self,
        name: str,
        label: str,
        detail: str = "",
        *,
        kind: NodeKind = "variable",
        extra: bool = False,
        column: int = 0,
        row: int = 0,
    ) -> None:
        """Adds a node, or puts another one in its place."""
        self.nodes[name] = Node(name, label, detail, kind, extra, column, row)

    def arrow(self, source: str, target: str, label: str = "", *, extra: bool = False) -> None:
        """Adds an arrow between two nodes.

        Raises:
            PluginError: there is no such node.
        """
        for name in (source, target):
            if name not in self.nodes:
                raise PluginError(f"the {self.title} panel has no node {name!r}{suggest(name, self.nodes)}")
        self.arrows.append(Arrow(source, target, label, extra))

    def clear(self) -> None:
        """Forgets everything."""
        self.nodes.clear()
        self.arrows.clear()


@dataclass
class Graph:
    """Two panels, and the terms of the loss between nodes of the first.

    Attributes:
        title: the specification's name.
        weights: weight of every term that the loss was seen to have, by (phase, term).
        places: where terms stand that somebody placed, by term, or by (phase, term).
    """

    title: str
    training: Panel = field(default_factory=lambda: Panel("training"))
    inference: Panel = field(default_factory=lambda: Panel("inference"))
    weights: dict[tuple[str, str], float] = field(default_factory=dict)
    places: dict[str | tuple[str, str], tuple[str, str, bool]] = field(default_factory=dict)

    def place(self, term: str, source: str, target: str, *, phase: str | None = None, extra: bool = True) -> None:
        """Says between which nodes a term of the loss stands; of one phase alone, where several have it."""
        self.places[term if phase is None else (phase, term)] = (source, target, extra)

    def summands(self) -> list[Summand]:
        """Every term with its place; what nobody placed stands between the first node and the last."""
        ends = [*self.training.nodes]
        found = []
        for (phase, name), weight in self.weights.items():
            everywhere = self.places.get(name, (ends[0], ends[-1], True))
            source, target, extra = self.places.get((phase, name), everywhere)
            between = tuple(end if end in self.training.nodes else ends[-1] for end in (source, target))
            found.append(Summand(name, phase, (between[0], between[1]), weight, extra))
        return found


class Drawn(ABC):
    """A model or a loss that says more of its graph than its capabilities do."""

    @abstractmethod
    def draw(self, graph: Graph) -> None:
        """Adds to a graph that holds what follows from the capabilities (`clear` starts anew). A loss is given the
        graph after the model, with the names of its terms in `weights`, and says where these stand (`place`)."""
