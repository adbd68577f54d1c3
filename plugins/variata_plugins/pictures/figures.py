"""Figures as PNG: grids of images, points in the plane, rows of a table, lines of text, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from variata import DataSpec, RunError

from .of_columns import draw_columns
from .of_text import draw_lines, lines_of

_DOTS = 120
_NATS = {
    "loss",
    "elbo",
    "reconstruction",
    "kl",
    "iwae",
    "nll",
    "log_likelihood",
    "pseudo_log_likelihood",
    "free_energy",
}
_NATS |= {"free_energy_gap"}


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG.

    Raises:
        RunError: the file cannot be written.
    """
    FigureCanvasAgg(figure)
    try:
        figure.savefig(path, dpi=_DOTS, bbox_inches="tight", format="png")
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from error


def tile(images: Tensor, spec: DataSpec, columns: int) -> np.ndarray:
    """`[n, channels, height, width]` -> one `[height, width, 3]` picture in [0, 1], with a line between images."""
    low, high = (spec.low, spec.high) if spec.support != "real" else (float(images.min()), float(images.max()))
    images = ((images.float() - low) / max(high - low, 1e-12)).clamp(0, 1)
    missing = -len(images) % columns
    if missing:
        images = torch.cat([images, images.new_ones(missing, *images.shape[1:])])
    images = images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)
    framed = torch.nn.functional.pad(images, (0, 1, 0, 1), value=0.5)
    return rearrange(framed, "(r c) d h w -> (r h) (c w) d", c=columns)[:-1, :-1].numpy()


def draw_grid(images: Tensor, spec: DataSpec, path: Path, title: str, columns: int | None = None) -> None:
    """Images in a grid."""
    columns = columns or max(1, round(len(images) ** 0.5))
    picture = tile(images.cpu(), spec, columns)
    height, width = picture.shape[:2]
    figure = Figure(figsize=(6, 6 * height / width + 0.4))
    axes = figure.subplots()
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title)
    axes.set_axis_off()
    save(figure, path)


def draw_points(sets: Mapping[str, Tensor], path: Path, title: str) -> None:
    """Sets of points in the plane, `[n, 2]` each."""
    figure = Figure(figsize=(5, 5))
    axes = figure.subplots()
    for name, points in sets.items():
        x, y = points.cpu().T
        axes.scatter(x, y, s=6, alpha=0.5, label=name)
    axes.set_aspect("equal")
    axes.set_title(title)
    axes.legend()
    save(figure, path)


def draw_rows(rows: Tensor, path: Path, title: str) -> None:
    """Rows of a table as lines of colour."""
    figure = Figure(figsize=(7, 5))
    axes = figure.subplots()
    image = axes.imshow(rows.flatten(1).cpu().numpy(), aspect="auto", interpolation="nearest")
    figure.colorbar(image, ax=axes, label="value")
    axes.set(xlabel="dimension", ylabel="example", title=title)
    save(figure, path)


def draw_examples(x: Tensor, spec: DataSpec, path: Path, title: str, beside: Tensor | None = None) -> None:
    """Examples in the form that suits what they are; `beside` is real data to compare with, for points and tables."""
    if spec.is_image:
        draw_grid(x, spec, path, title)
    elif spec.vocabulary:
        draw_lines(lines_of(x, spec), path, title)
    elif spec.columns:
        draw_columns({"model": x} if beside is None else {"data": beside, "model": x}, spec, path, title)
    elif spec.shape == (2,):
        draw_points({"model": x} if beside is None else {"data": beside, "model": x}, path, title)
    else:
        draw_rows(x, path, title)


def draw_pairs(x: Tensor, reconstructed: Tensor, spec: DataSpec, path: Path) -> None:
    """Examples beside their reconstructions: for images, rows of data over rows of reconstructions."""
    if spec.is_image:
        columns = min(8, len(x))
        both = torch.stack([x, reconstructed])
        both = torch.cat([both, both.new_full((2, -len(x) % columns, *x.shape[1:]), float(x.min()))], dim=1)
        pairs = rearrange(both, "p (r c) ... -> (r p c) ...", c=columns)
        draw_grid(pairs, spec, path, "test examples, each row above its reconstructions", columns)
    elif spec.vocabulary:
        pairs = zip(lines_of(x, spec), lines_of(reconstructed, spec), strict=True)
        lines = [line for own, other in pairs for line in (own, f"  {other}")]
        draw_lines(lines, path, "test examples, each above its reconstruction")
    elif spec.shape == (2,):
        draw_points({"data": x, "reconstruction": reconstructed}, path, "reconstructions")
    else:
        draw_rows(reconstructed - x, path, "reconstruction minus data")


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Learning curves: one panel for each quantity, training and validation together. Those of `_NATS` are in
    nats; of others the unit is not known here."""
    hidden = {"step", "epoch", "split", "lr"}
    names = list(dict.fromkeys(name for row in rows for name in row if name not in hidden))
    if not names:
        return
    figure = Figure(figsize=(4 * len(names), 3.2), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        for split in ("train", "validation"):
            points = [(row["epoch"], row[name]) for row in rows if row["split"] == split and name in row]
            if points:
                axes.plot(*zip(*points, strict=True), label=split, marker="o" if len(points) == 1 else None)
        unit = " (nats per example)" if name.partition("/")[0] in _NATS else ""
        axes.set(xlabel="epoch", ylabel=f"{name}{unit}", title=name)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    save(figure, path)
