"""`variata interpolate`, and interpolation.txt after an evaluation: what stands between two sentences,
decode((1 - t) z(a) + t z(b)), the most probable token each time."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from variata import (
    UNKNOWN,
    Autoencoder,
    ConfigError,
    DataError,
    EvaluationContext,
    Problem,
    Unsupported,
    VariataWarning,
    load,
    padded,
)
from variata_plugins.pictures.commands import STANDARD_OUTPUT, check_out
from variata_plugins.pictures.of_text import lines_of, write_lines

_PAIRS, _STEPS = 6, 7


@torch.no_grad()
def interpolate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, of an autoencoder of strings.")],
    first: Annotated[str | None, typer.Option("--from", help="A sentence; by default those of test examples.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Another one.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many pairs of test examples.")] = _PAIRS,
    steps: Annotated[int, typer.Option(min=2, help="Sentences from one end to the other.")] = _STEPS,
    out: Annotated[Path, typer.Option("--out", help="A .txt to write; - is standard output.")] = STANDARD_OUTPUT,
    plugin: Annotated[list[str] | None, typer.Option("--plugin", metavar="FILE", help="Load a plugin file.")] = None,
) -> None:
    """Write what stands between two sentences, with a blank line after each pair."""
    check_out(out, (".txt", "-"))
    if (first is None) != (last is None):
        raise ConfigError(Problem("two ends are needed: give both or neither", "--from" if first is None else "--to"))
    loaded = load(run, plugins=plugin or ())
    model = loaded.model
    if not isinstance(model, Autoencoder) or model.spec.vocabulary is None:
        raise Unsupported(f"{type(model).__name__} has no sentences to write between")
    if first is not None and last is not None:
        x = torch.cat([_string(model, first, "--from"), _string(model, last, "--to")])
        start, end = x[:1], x[1:]
    else:
        split = loaded.data.split("test")
        if len(split) < 2:
            raise DataError("the data has no two test examples: give --from and --to")
        x = split.batch(torch.arange(min(2 * n, len(split) // 2 * 2))).x
        start, end = x.chunk(2)
    write_lines(lines_between(model, start, end, steps), None if out == STANDARD_OUTPUT else out)
    if out != STANDARD_OUTPUT:
        print(out)


def lines_between(model: Autoencoder, start: Tensor, end: Tensor, steps: int) -> list[str]:
    """The lines of each pair, from what comes back of one end to what comes back of the other, and a blank one between
    pairs."""
    a, b = model.encode(start), model.encode(end)
    t = torch.linspace(0, 1, steps, device=a.device, dtype=a.dtype).view(1, -1, 1)
    x = model.decode(torch.lerp(a[:, None], b[:, None], t))
    lines = [[*lines_of(strings, model.spec), ""] for strings in x.cpu()]
    return [line for pair in lines for line in pair][:-1]


def of_evaluation(context: EvaluationContext) -> None:
    """interpolation.txt of the first examples of the split."""
    model = context.model
    split = context.data.split(context.settings.split)
    if not isinstance(model, Autoencoder) or model.spec.vocabulary is None or model.conditional or len(split) < 2:
        return
    x = split.batch(torch.arange(min(2 * _PAIRS, len(split) // 2 * 2))).x.to(next(model.parameters()).device)
    path = context.path / "interpolation.txt"
    with torch.no_grad():
        start, end = x.chunk(2)
        write_lines(lines_between(model, start, end, _STEPS), path)
    context.pictures.append(path)


def _string(model: Autoencoder, text: str, option: str) -> Tensor:
    vocabulary, width = model.spec.vocabulary, model.spec.shape[0]
    assert vocabulary is not None
    string = vocabulary.encode(text)
    if not 1 < len(string) <= width:
        message = f"has {len(string) - 1} tokens, and the model reads 1 to {width - 1}"
        raise ConfigError(Problem(message, option))
    if unknown := string.count(UNKNOWN):
        warnings.warn(f"{option}: {unknown} of its tokens are unknown to the model", VariataWarning, stacklevel=2)
    return padded([string], width).to(next(model.parameters()).dtype)
