"""What a Boltzmann machine has learned: filters.png, the weights of its hidden units, and chains.png, where its chains
are after so many sweeps from the base law."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from variata import DataSpec, RunContext, RunError

from .model import RBM

_MOST_FILTERS = 100
_SWEEPS = (0, 1, 3, 10, 30, 100, 300, 1000)
_CHAINS = {"image": 8, "points": 500, "rows": 50}


def draw_run(context: RunContext) -> None:
    """Leaves both pictures in the run of an RBM."""
    model = context.model
    if not isinstance(model, RBM):
        return
    draw_filters(model, context.path / "filters.png")
    with torch.random.fork_rng():
        torch.manual_seed(context.spec["seed"])
        draw_chains(model, context.path / "chains.png")


def draw_filters(model: RBM, path: Path) -> None:
    """The weights of each hidden unit, as images where the data is grey images; else the matrix."""
    weight, shape = model.weight.detach().cpu(), model.spec.shape
    limit = float(weight.abs().max()) or 1.0
    shown = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
    figure = Figure(figsize=(6, 5.5), layout="constrained")
    axes = figure.subplots()
    if model.spec.is_image and shape[0] == 1:
        filters = weight.T[:_MOST_FILTERS].reshape(-1, *shape[1:])
        columns = max(1, round(len(filters) ** 0.5))
        empty = filters.new_zeros(-len(filters) % columns, *shape[1:])
        framed = torch.nn.functional.pad(torch.cat([filters, empty]), (0, 1, 0, 1), value=float("nan"))
        image = axes.imshow(rearrange(framed, "(r c) h w -> (r h) (c w)", c=columns)[:-1, :-1].numpy(), **shown)
        axes.set_axis_off()
        axes.set_title(f"weights of hidden units 1 to {len(filters)} of {weight.shape[1]}")
    else:
        image = axes.imshow(weight.numpy(), aspect="auto", **shown)
        axes.set(xlabel="hidden unit", ylabel="visible unit", title="weights")
    figure.colorbar(image, ax=axes, label="weight")
    _save(figure, path)


@torch.no_grad()
def draw_chains(model: RBM, path: Path) -> None:
    """The same chains after more and more sweeps, a panel each."""
    form = "image" if model.spec.is_image else "points" if model.spec.shape == (2,) else "rows"
    state, done = model.start(_CHAINS[form]), 0
    width = 1.4 if form == "image" else 2.2
    figure = Figure(figsize=(width * len(_SWEEPS), 9 if form == "image" else 3), layout="constrained")
    panels = figure.subplots(1, len(_SWEEPS), sharex=True, sharey=True)
    for axes, sweeps in zip(panels, _SWEEPS, strict=True):
        while done < sweeps:
            state, done = model.step(state), done + 1
        _draw_states(axes, model.visible(state).cpu(), form, model.spec)
        axes.set_title(f"{sweeps} sweep{'s' * (sweeps != 1)}")
    what = {"image": "each row is a chain", "points": "each point is a chain", "rows": "each row is a chain"}[form]
    figure.suptitle(f"Gibbs chains from the base law: {what}")
    _save(figure, path)


def _draw_states(axes: Any, x: Tensor, form: str, spec: DataSpec) -> None:
    if form == "points":
        axes.scatter(*x.T.numpy(), s=4, alpha=0.5)
        axes.set_aspect("equal")
        return
    if form == "image":
        low, high = (spec.low, spec.high) if spec.support != "real" else (float(x.min()), float(x.max()))
        x = ((x - low) / (high - low or 1.0)).clamp(0, 1)
        picture = rearrange(torch.nn.functional.pad(x, (0, 0, 0, 1), value=0.5), "n c h w -> (n h) w c")
        picture = picture[..., :3] if picture.shape[-1] >= 3 else picture[..., 0]
        axes.imshow(picture.numpy(), cmap="gray", interpolation="nearest")
        axes.set_axis_off()
        return
    axes.imshow(x.flatten(1).numpy(), aspect="auto", interpolation="nearest")
    axes.set_xlabel("element")


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    try:
        figure.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from error
