"""Strings of tokens as lines of text, in a file, on standard output, or in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from variata import DataSpec, RunError

_MOST, _WIDEST = 32, 110


def lines_of(x: Tensor, spec: DataSpec, y: Tensor | None = None) -> list[str]:
    """The text of each string, on one line; where sources y are given, each before its target, with a tab between."""
    assert spec.vocabulary is not None, "data of tokens says which text each is"
    found = [spec.vocabulary.decode(row) for row in x.tolist()]
    if y is not None and spec.source is not None:
        found = [f"{spec.source.decode(row)}\t{line}" for row, line in zip(y.tolist(), found, strict=True)]
    return [" ".join(line.splitlines()) for line in found]


def write_lines(lines: Sequence[str], out: Path | None) -> None:
    """Writes lines to a file in UTF-8; to standard output where there is none.

    Raises:
        RunError: the file cannot be written.
    """
    if out is None:
        print(*lines, sep="\n")
        return
    try:
        out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror}") from error


def draw_lines(lines: Sequence[str], path: Path, title: str) -> None:
    """The first lines as a picture; long ones are cut."""
    from .figures import save

    shown = [line.replace("\t", "  →  ") for line in lines[:_MOST]]
    shown = [line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}…" for line in shown]
    figure = Figure(figsize=(9.0, 0.5 + 0.2 * len(shown)))
    axes = figure.subplots()
    for row, line in enumerate(shown):
        axes.text(0.0, -row, line, fontsize=8, family="monospace", va="center", parse_math=False)
    axes.set(xlim=(0, 1), ylim=(-len(shown), 1), title=title)
    axes.set_axis_off()
    save(figure, path)
