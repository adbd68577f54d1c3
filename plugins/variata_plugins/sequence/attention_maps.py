"""attention.png: which places of the source each place of the target looks at."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from variata import Batch, EvaluationContext, RunContext
from variata_plugins.pictures.figures import save

from .seq2seq import Seq2Seq

_MOST = 4


@torch.no_grad()
def draw_attention(model: Seq2Seq, x: Tensor, y: Tensor, path: Path, title: str) -> bool:
    """A panel for each of the first pairs; false where the decoder does not look at a source."""
    x, y = x[:_MOST], y[:_MOST]
    weights, spec = model.looks(x, y), model.spec
    if weights is None or spec.vocabulary is None or spec.source is None:
        return False
    figure = Figure(figsize=(3.4 * len(x), 3.6), layout="constrained")
    image = None
    for panel, row, target, source in zip(
        figure.subplots(1, len(x), squeeze=False)[0], weights.cpu(), x.tolist(), y.tolist(), strict=True
    ):
        across, down = spec.source.pieces(source), spec.vocabulary.pieces(target)
        image = panel.imshow(row[: len(down), : len(across)].numpy(), vmin=0, vmax=1, cmap="viridis", aspect="auto")
        panel.set_xticks(range(len(across)), across, rotation=90 if max(map(len, across)) > 1 else 0, fontsize=7)
        panel.set_yticks(range(len(down)), down, fontsize=7)
        panel.set_xlabel("source")
    if image is not None:
        figure.colorbar(image, label="share of the place")
    figure.supylabel("target")
    figure.suptitle(title)
    save(figure, path)
    return True


def of_run(context: RunContext) -> None:
    """Of the first test examples, at the end of a run."""
    split = context.data.split("test")
    if isinstance(context.model, Seq2Seq) and len(split):
        _of_examples(context.model, split.batch(torch.arange(min(_MOST, len(split)))), context.path)


def of_evaluation(context: EvaluationContext) -> None:
    """Of the first examples of the split, after an evaluation."""
    if isinstance(context.model, Seq2Seq):
        split = context.data.split(context.settings.split)
        batch = split.batch(torch.arange(min(_MOST, len(split))))
        if _of_examples(context.model, batch, context.path):
            context.pictures.append(context.path / "attention.png")


def _of_examples(model: Seq2Seq, batch: Batch, folder: Path) -> bool:
    assert batch.y is not None
    device = next(model.parameters()).device
    title = "where each place of a target looks in its source"
    return draw_attention(model, batch.x.to(device), batch.y.to(device), folder / "attention.png", title)
