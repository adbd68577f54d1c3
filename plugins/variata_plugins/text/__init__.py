r"""Strings of tokens as data.

    x = (x_1, ..., x_L, 0, ..., 0),  x_L = 1 the end;    of pairs, y is such a string too: the source

A row of integers, padded to one width, whose end says how long it is (`variata.Sequences`). Which text each token is
stands in `DataSpec.vocabulary`, and so in a run (`variata.Vocabulary`). Batches of training hold strings of about one
length, so that little of them is padding.

Here: lines of files and their mistakes (`lines.py`), the vocabulary of some texts (`vocabulary.py`), strings in splits
(`strings.py`), and the data sets: lines of a file (`text.py`), tab-separated sources and targets (`pairs.py`), strings
that are made up (`procedural.py`), and sentences that every Python carries with it (`docstrings.py`).
"""

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """Data sets of strings."""
    here = "variata_plugins.text"
    return [
        Component("data", "text", f"{here}.text:Text", "The lines of a file: characters, words, or a tokenizer's"),
        Component("data", "pairs", f"{here}.pairs:Pairs", "Sources and targets, a tab between them"),
        Component("data", "reversal", f"{here}.procedural:Reversal", "Made-up strings: the source from its end"),
        Component("data", "copy", f"{here}.procedural:Copy", "Made-up strings: the source itself"),
        Component("data", "docstrings", f"{here}.docstrings:Docstrings", "Sentences of Python's own documentation"),
    ]
