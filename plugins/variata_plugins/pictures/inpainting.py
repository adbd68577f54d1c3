"""`variata inpaint`: a half of test examples is hidden, and drawn given the rest by a model that can."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from einops import rearrange
from torch import Tensor

from variata import ConfigError, Inpainter, Unsupported, load

from .commands import Files, RunArgument, check_out, save_arrays
from .figures import draw_grid, draw_rows

Side = Literal["left", "right", "top", "bottom"]


@torch.no_grad()
def inpaint(
    run: RunArgument,
    n: Annotated[int, typer.Option("-n", min=1, help="How many test examples.")] = 16,
    hide: Annotated[Side, typer.Option(help="Which half is hidden; of a table, left or right.")] = "bottom",
    out: Annotated[Path, typer.Option("--out", help="A .png picture, or an .npz of numbers.")] = Path("inpainted.png"),
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the draws.")] = 0,
    plugin: Files = None,
) -> None:
    """Hide a half of test examples, and draw it from p(hidden | rest)."""
    check_out(out)
    loaded = load(run, plugins=plugin or ())
    model = loaded.model
    if not isinstance(model, Inpainter):
        raise Unsupported(f"{type(model).__name__} cannot draw what is hidden given the rest")
    split = loaded.data.split("test")
    if not len(split):
        raise ConfigError("the data has no test examples to inpaint")
    x = split.batch(torch.arange(min(n, len(split)))).x
    observed = ~half(x, hide)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        filled = model.sample_given(x, observed)
    if out.suffix == ".npz":
        save_arrays(out, x=x, observed=observed, inpainted=filled)
    elif model.spec.is_image:
        grey = torch.full_like(x, (model.spec.low + model.spec.high) / 2)
        columns = min(8, len(x))
        whole = len(x) // columns * columns
        rows = torch.stack([x, torch.where(observed, x, grey), filled])[:, :whole]
        rows = rearrange(rows, "p (r c) ... -> (r p c) ...", c=columns)
        draw_grid(rows, model.spec, out, f"test examples, {hide} hidden, and drawn given the rest", columns)
    else:
        draw_rows(filled - x, out, "inpainted minus data")
    print(out)


def half(x: Tensor, side: Side) -> Tensor:
    """A mask of the half of x `[batch, *event]` that lies on a side."""
    axis = x.ndim - 1 if side in ("left", "right") or x.ndim < 3 else x.ndim - 2
    place = torch.arange(x.shape[axis]).view(-1, *[1] * (x.ndim - 1 - axis))
    middle = x.shape[axis] // 2
    return (place < middle if side in ("left", "top") else place >= middle).expand_as(x)
