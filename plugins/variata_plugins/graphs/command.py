"""`variata graph`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from variata import ConfigError, Problem, RunError, build

from .png import render_png
from .structure import graph_of
from .svg import render_svg
from .words import mermaid, text


def graph(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or a preset's name.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="An .svg, .png, .mmd (Mermaid) or .txt file.")] = None,
) -> None:
    """Draw how a model trains, and how it is used: as text, or to a file."""
    writers = {".svg": render_svg, ".png": render_png, ".mmd": mermaid, ".txt": text}
    if out is not None and out.suffix not in writers:
        raise ConfigError(Problem(f"must end in {', '.join(writers)} (got {str(out)!r})", "--out"))
    found = graph_of(build(config, overrides or ()))
    if out is None:
        encoding = sys.stdout.encoding or "ascii"
        print(text(found).encode(encoding, "replace").decode(encoding), end="")
        return
    written = writers[out.suffix](found)
    try:
        out.write_bytes(written if isinstance(written, bytes) else written.encode())
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror}") from error
    print(out)
