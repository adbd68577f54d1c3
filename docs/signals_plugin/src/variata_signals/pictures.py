"""signals.png, which a run of a model of signals leaves: test signals with what comes back of each, and samples."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from variata import Autoencoder, RunContext, Sampler

_ROWS = 4


@torch.no_grad()
def draw_signals(context: RunContext) -> None:
    """Leaves the picture, where examples are signals and the model can give some back."""
    model, spec = context.model, context.model.spec
    split = context.data.split("test")
    if len(spec.shape) != 2 or spec.support != "real" or not isinstance(model, Autoencoder) or not len(split):
        return
    batch = split.batch(torch.arange(min(_ROWS, len(split))))
    device = next(model.parameters()).device
    y = None if batch.y is None else batch.y.to(device)
    columns = [("test signals, and through the model", batch.x, model.reconstruct(batch.x.to(device), y).cpu())]
    if isinstance(model, Sampler):
        with torch.random.fork_rng():
            torch.manual_seed(context.spec["seed"])
            columns.append(("samples", model.sample(len(batch)).cpu(), None))
    figure = Figure(figsize=(4.2 * len(columns), 1.1 * len(batch)), layout="constrained", dpi=80)
    axes = figure.subplots(len(batch), len(columns), squeeze=False, sharex=True)
    for column, (title, x, again) in enumerate(columns):
        axes[0, column].set_title(title, fontsize=9)
        for row in range(len(batch)):
            axis = axes[row, column]
            axis.plot(x[row, 0], color="black" if again is not None else "tab:blue", linewidth=1)
            if again is not None:
                axis.plot(again[row, 0], color="tab:blue", linewidth=1)
            axis.set_yticks([])
    figure.savefig(context.path / "signals.png")
