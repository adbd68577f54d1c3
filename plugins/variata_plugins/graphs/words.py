"""A graph as Mermaid, for Markdown, and as lines of text, for a terminal."""

from __future__ import annotations

from .graph import Graph, Panel


def mermaid(graph: Graph) -> str:
    """A Mermaid flow chart; terms of the loss are dotted."""
    lines, extra = ["flowchart LR"], []
    for panel in (graph.training, graph.inference):
        lines.append(f"  subgraph {panel.title}")
        for name, node in panel.nodes.items():
            label = "<br>".join(part for part in (node.label, node.detail) if part).replace('"', "'")
            lines.append(f'    {panel.title}_{name}["{label}"]')
            extra += [f"{panel.title}_{name}"] if node.extra else []
        for arrow in panel.arrows:
            label = f'|"{arrow.label}"|' if arrow.label else ""
            lines.append(f"    {panel.title}_{arrow.source} -->{label} {panel.title}_{arrow.target}")
        lines.append("  end")
    for summand in graph.summands():
        first, last = (f"training_{name}" for name in summand.between)
        lines.append(f'  {first} -.-|"{summand.name} ({summand.phase})"| {last}')
    lines.append("  classDef extra stroke:#1558c0,color:#1558c0")
    lines += [f"  class {','.join(extra)} extra"] if extra else []
    return "\n".join(lines) + "\n"


def text(graph: Graph) -> str:
    """Both panels, an arrow a line, and the terms of the loss; a + marks what a plain autoencoder has not."""
    lines = [graph.title]
    for panel in (graph.training, graph.inference):
        lines += ["", panel.title]
        for arrow in panel.arrows:
            note = f"   ({arrow.label})" if arrow.label else ""
            ends = f"{_said(panel, arrow.source)} -> {_said(panel, arrow.target)}"
            lines.append(f"{'+' if arrow.extra else ' '} {ends}{note}")
        if panel is graph.training:
            lines += ["", "minimised"]
            for summand in graph.summands():
                weight = "" if summand.weight == 1 else f"{summand.weight:g} x "
                between = " -- ".join(_said(panel, name) for name in dict.fromkeys(summand.between))
                lines.append(f"{'+' if summand.extra else ' '} {weight}{summand.name} ({summand.phase}): {between}")
    return "\n".join(lines) + "\n"


def _said(panel: Panel, name: str) -> str:
    node = panel.nodes[name]
    return f"{node.label} [{node.detail}]" if node.detail else node.label
