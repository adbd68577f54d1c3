r"""The conceptual graph of any model: two panels, training and inference, and a line for each term of the loss.

The graph follows from what a model can do, from its parts, and from one look at the loss on a few examples
(`structure.py`); a model or loss that is `Drawn` adds to it (`graph.py`). It is laid out in columns and lanes
(`layout.py`) and written as SVG (`svg.py`), PNG (`png.py`), Mermaid or text (`words.py`).
"""

from variata import Command, hookimpl


@hookimpl
def variata_commands() -> list[Command]:
    """The command `graph`."""
    target = "variata_plugins.graphs.command:graph"
    return [Command("graph", target, "Draw how a model trains, and how it is used.")]
