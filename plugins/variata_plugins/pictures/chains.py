"""Where the chains of a model are after so many steps: how far its samples are draws from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from matplotlib.figure import Figure
from torch import Tensor

from variata import Chain, DataSpec

from .figures import save

_STEPS = (0, 1, 3, 10, 30, 100, 300, 1000)
_CHAINS = {"image": 8, "points": 500, "rows": 50}


@torch.no_grad()
def draw_chains(model: Chain, path: Path) -> None:
    """The same chains after more and more steps, a panel each."""
    form = "image" if model.spec.is_image else "points" if model.spec.shape == (2,) else "rows"
    count, done = _CHAINS[form], 0
    y = model.conditions.draw(count) if model.conditional else None
    state = model.start(count, y)
    width = 1.4 if form == "image" else 2.2
    figure = Figure(figsize=(width * len(_STEPS), 9 if form == "image" else 3), layout="constrained")
    panels = figure.subplots(1, len(_STEPS), sharex=True, sharey=True)
    for axes, steps in zip(panels, _STEPS, strict=True):
        while done < steps:
            state, done = model.step(state, y), done + 1
        _draw_states(axes, model.visible(state).cpu(), form, model.spec)
        axes.set_title(f"{steps} step{'s' * (steps != 1)}")
    what = {"image": "each row is a chain", "points": "each point is a chain", "rows": "each row is a chain"}[form]
    figure.suptitle(f"chains after more and more steps: {what}")
    save(figure, path)


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
