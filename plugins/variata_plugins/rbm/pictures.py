"""What a Boltzmann machine has learned: filters.png, the weights of its hidden units. Those of layers further up are
shown by what they add up to in the data, W_1 W_2 ... W_l (filters_2.png, ...)."""

from __future__ import annotations

from pathlib import Path

import torch
from einops import rearrange
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from variata import DataSpec, RunContext, RunError

from .belief import DeepBeliefNetwork
from .model import RBM

_MOST_FILTERS = 100


def draw_run(context: RunContext) -> None:
    """Leaves the pictures in the run of an RBM, or of layers of them."""
    model, path = context.model, context.path
    if isinstance(model, RBM):
        draw_filters(model.weight, model.spec, path / "filters.png")
    elif isinstance(model, DeepBeliefNetwork):
        weight: Tensor | None = None
        for layer, machine in enumerate(model.machines, start=1):
            weight = machine.weight if weight is None else weight @ machine.weight
            draw_filters(weight, model.spec, path / f"filters{'' if layer == 1 else f'_{layer}'}.png", layer)


def draw_filters(weight: Tensor, spec: DataSpec, path: Path, layer: int = 1) -> None:
    """The weights of each hidden unit, `[visible, hidden]`, as images where the data is grey images; else the
    matrix."""
    weight, shape = weight.detach().cpu(), spec.shape
    limit = float(weight.abs().max()) or 1.0
    shown = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
    figure = Figure(figsize=(6, 5.5), layout="constrained")
    axes = figure.subplots()
    if spec.is_image and shape[0] == 1:
        filters = weight.T[:_MOST_FILTERS].reshape(-1, *shape[1:])
        columns = max(1, round(len(filters) ** 0.5))
        empty = filters.new_zeros(-len(filters) % columns, *shape[1:])
        framed = torch.nn.functional.pad(torch.cat([filters, empty]), (0, 1, 0, 1), value=float("nan"))
        image = axes.imshow(rearrange(framed, "(r c) h w -> (r h) (c w)", c=columns)[:-1, :-1].numpy(), **shown)
        axes.set_axis_off()
        of = "" if layer == 1 else f"layer {layer}, seen through those below: "
        axes.set_title(f"{of}weights of hidden units 1 to {len(filters)} of {weight.shape[1]}", wrap=True)
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
