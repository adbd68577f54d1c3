"""`variata generate`: a line for each line of a file, written by a model from it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer

from variata import END, UNKNOWN, ConfigError, DataError, Problem, Unsupported, VariataWarning, load, padded
from variata_plugins.pictures.commands import STANDARD_OUTPUT, check_out
from variata_plugins.pictures.of_text import lines_of, write_lines
from variata_plugins.text.lines import Line, every_line

from .attention_maps import draw_attention
from .seq2seq import Seq2Seq
from .writing import Strategy, Writing


@torch.no_grad()
def generate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, of a model that reads a source.")],
    source: Annotated[Path, typer.Option("--source", help="A text file: a source on each line.")],
    out: Annotated[Path, typer.Option("--out", help="A .txt to write; - is standard output.")] = STANDARD_OUTPUT,
    strategy: Annotated[Strategy, typer.Option(help="The best token each time, a beam, or draws.")] = "greedy",
    width: Annotated[int, typer.Option(min=1, help="Strings of the beam.")] = 5,
    length_normalisation: Annotated[
        float,
        typer.Option(
            "--length-normalisation", "--length-normalization", min=0.0, help="Power of the length, in a beam."
        ),
    ] = 1.0,
    temperature: Annotated[float, typer.Option(min=1e-6, help="Of draws.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of draws.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Sources at a time.")] = 64,
    attention: Annotated[
        Path | None, typer.Option("--attention", help="Also a .png: where the first lines look.")
    ] = None,
    plugin: Annotated[list[str] | None, typer.Option("--plugin", metavar="FILE", help="Load a plugin file.")] = None,
) -> None:
    """Write a line for each line of a file; an empty one for a blank one."""
    check_out(out, (".txt", "-"))
    if attention is not None:
        check_out(attention, (".png",))
    model = load(run, plugins=plugin or ()).model
    if not isinstance(model, Seq2Seq):
        name = type(model).__name__
        raise Unsupported(f"{name} reads no source: `variata sample {run}` draws from it, if it can")
    lines = every_line(source)
    if not lines:
        raise DataError(f"{source}:1:1: is empty, and a source on each line is needed")
    sources = strings_of(model, lines)
    writing = Writing(strategy, width, length_normalisation, temperature)
    shown = [i for i, string in enumerate(sources) if len(string) > 1]
    texts = [""] * len(lines)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for start in range(0, len(shown), batch_size):
            chosen = shown[start : start + batch_size]
            y = padded([sources[i] for i in chosen], (model.spec.condition or (1,))[0])
            x = writing(model.law(len(chosen), y))
            for i, text in zip(chosen, lines_of(x, model.spec), strict=True):
                texts[i] = text
            title = "where each place of what was written looks"
            if attention is not None and not start and not draw_attention(model, x, y, attention, title):
                raise ConfigError(Problem("this model's decoder looks at no source", "--attention"))
    write_lines(texts, None if out == STANDARD_OUTPUT else out)
    for path in (out, attention):
        if path not in (None, STANDARD_OUTPUT):
            print(path)


def strings_of(model: Seq2Seq, lines: Sequence[Line]) -> list[list[int]]:
    """The sources in lines, with their ends; a warning says how many tokens are unknown to the model.

    Raises:
        DataError: one is longer than any source of training, by line.
    """
    vocabulary, longest = model.spec.source, (model.spec.condition or (1,))[0] - 1
    assert vocabulary is not None
    strings, unknown, where = list[list[int]](), 0, ""
    for line in lines:
        string = vocabulary.encode(line.text.strip())
        if len(string) - 1 > longest:
            what = f"has {len(string) - 1} tokens, and the model reads {longest} at most"
            raise DataError(f"{line.place()}: {what}: shorten it, or train with a greater data.longest")
        found = string.count(UNKNOWN)
        where = where or (line.place() if found else "")
        unknown += found
        strings.append(string if line.text.strip() else [END])
    if unknown:
        message = f"{where}: {unknown} tokens from here on are unknown to the model, and are read as one unknown token"
        warnings.warn(message, VariataWarning, stacklevel=2)
    return strings
