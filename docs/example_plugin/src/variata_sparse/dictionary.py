"""`variata dictionary RUN`: the atoms, those that are used most first."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import torch
import typer
from einops import rearrange
from PIL import Image

from variata import RunError, load

from .sparse_coding import SparseCoding


@torch.no_grad()
def dictionary(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[Path, typer.Option("--out", help="A .png picture.")] = Path("dictionary.png"),
    zoom: Annotated[int, typer.Option(min=1, help="Pixels of the picture for a pixel of an atom.")] = 5,
) -> None:
    """Draw what a model is made of: its atoms, white where they add and black where they take away."""
    model = load(run).model
    if not isinstance(model, SparseCoding) or not model.spec.is_image:
        raise RunError(f"{run}: not a sparse_coding model of images")
    use = model.prior().stddev
    atoms = model.dictionary()[use.argsort(descending=True)].unflatten(1, model.spec.shape).mean(1)
    atoms = 0.5 + 0.5 * atoms / atoms.abs().amax((1, 2), keepdim=True)
    atoms = torch.nn.functional.pad(atoms, (0, 1, 0, 1), value=1.0)
    side = math.ceil(math.sqrt(len(atoms)))
    atoms = torch.cat([atoms, atoms.new_ones(side * side - len(atoms), *atoms.shape[1:])])
    picture = rearrange(atoms, "(down across) h w -> (down h) (across w)", across=side)
    image = Image.fromarray((picture * 255).byte().numpy())
    image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST).save(out)
    print(out)
