"""What a Boltzmann machine has learned: filters.png, the weights of its hidden units."""

from __future__ import annotations

from pathlib import Path

import torch
from einops import rearrange
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from variata import RunContext, RunError

from .model import RBM

_MOST_FILTERS = 100


def draw_run(context: RunContext) -> None:
    """Leaves the picture in the run of an RBM."""
    if isinstance(context.model, RBM):
        draw_filters(context.model, context.path / "filters.png")


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


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    try:
        figure.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from error
