"""Figures of an evaluation: codes in the plane, images with what rows and columns mean, bars, histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from variata import DataSpec

from .figures import save, tile

_MOST_NAMED = 20
_BINS = 60


def draw_codes(points: Tensor, labels: Tensor | None, path: Path, title: str, axis_names: Sequence[str]) -> None:
    """Codes `[n, 2]`, coloured by integer labels `[n]` where there are any."""
    figure = Figure(figsize=(6.5, 5.5), layout="constrained")
    axes = figure.subplots()
    x, y = points.numpy().T
    classes = [] if labels is None else labels.unique().tolist()
    if labels is None:
        axes.scatter(x, y, s=8, alpha=0.6, linewidths=0)
    elif len(classes) > _MOST_NAMED:
        shown = axes.scatter(x, y, s=8, alpha=0.6, linewidths=0, c=labels.numpy(), cmap="viridis")
        figure.colorbar(shown, ax=axes, label="label")
    else:
        colours = colormaps["tab10" if len(classes) <= 10 else "tab20"].colors  # pyright: ignore[reportAttributeAccessIssue]
        for colour, label in zip(colours, classes, strict=False):
            chosen = (labels == label).numpy()
            axes.scatter(x[chosen], y[chosen], s=8, alpha=0.6, linewidths=0, color=colour, label=str(label))
        figure.legend(loc="outside right upper", title="label", markerscale=2.5)
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1], title=title)
    axes.grid(alpha=0.3)
    save(figure, path)


def draw_labelled_grid(
    images: Tensor, spec: DataSpec, path: Path, title: str, rows: Sequence[str], columns: Sequence[str], across: str
) -> None:
    """Images `[rows * columns, ...]` with a word beside each row and above each column; `across` says what the columns
    are."""
    picture = tile(images, spec, len(columns))
    height, width = picture.shape[:2]
    figure = Figure(figsize=(7.5, max(2.5, 6.2 * height / width + 1.0)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture, interpolation="nearest")
    for count, size, ticks in (
        (len(columns), width, axes.set_xticks),
        (len(rows), height, axes.set_yticks),
    ):
        ticks((np.arange(count) + 0.5) * (size + 1) / count - 1, columns if ticks == axes.set_xticks else rows)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.set_xlabel(across)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title)
    save(figure, path)


def draw_bars(values: Sequence[float], errors: Sequence[float], path: Path, threshold: float) -> None:
    """KL of each latent dimension, the largest first, with its standard error."""
    order = np.argsort(values)[::-1]
    heights, spread = np.asarray(values)[order], np.asarray(errors)[order]
    figure = Figure(figsize=(max(6.0, min(14.0, 1.5 + 0.22 * len(order))), 3.6), layout="constrained")
    axes = figure.subplots()
    axes.bar(np.arange(len(order)), heights, yerr=spread, capsize=2 if len(order) <= 60 else 0)
    if len(order) <= 60:
        axes.set_xticks(np.arange(len(order)), [str(j + 1) for j in order], fontsize=7 if len(order) > 30 else 9)
    else:
        axes.set_xticks([])
    used = int((heights > threshold).sum())
    axes.set(
        xlabel="latent dimension, the largest KL first",
        ylabel="KL (nats per example)",
        title=f"{heights.sum():.2f} nats of KL in all, {used} of {len(order)} dimensions above {threshold}",
    )
    axes.grid(alpha=0.3, axis="y")
    save(figure, path)


def draw_histogram(sets: Mapping[str, Tensor], path: Path, title: str, axis_name: str) -> None:
    """One number for each example of several sets; the first is compared with each other by how often one of its values
    is the larger (AUROC)."""
    everything = torch.cat([values[values.isfinite()] for values in sets.values()])
    low, high = float(everything.min()), float(everything.max())
    bins = np.linspace(low, high if high > low else low + 1, _BINS).tolist()
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    first = next(iter(sets.values()))
    for name, values in sets.items():
        finite = values[values.isfinite()]
        text = f"{name}: mean {float(finite.mean()):.1f}" if len(finite) else f"{name}: impossible"
        if values is not first:
            text += f", told apart with AUROC {larger(first, values):.3f}"
        axes.hist(finite.numpy(), bins=bins, density=True, alpha=0.55, label=text)
    axes.set(xlabel=axis_name, ylabel="share of examples per nat", title=title)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", fontsize=9)
    save(figure, path)


def larger(first: Tensor, other: Tensor) -> float:
    """P(a > b) + P(a = b) / 2 for values a of the first set and b of the other: the area under the ROC curve."""
    both = torch.cat([first, other]).double()
    _, place, counts = both.unique(return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[place]
    n, m = len(first), len(other)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))
