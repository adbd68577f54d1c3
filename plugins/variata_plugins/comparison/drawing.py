"""Pictures of one model for a comparison, small and without words: samples, reconstructions, the way between two
examples, and samples above the training examples that are nearest to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from variata import Autoencoder, Batch, Data, DataSpec, RunError, UserError
from variata_plugins.metrics.nearest import nearest
from variata_plugins.metrics.samples import examples
from variata_plugins.pictures.figures import draw_examples, tile

from .record import Picture

_COLUMNS, _STEPS, _SIDE = 10, 8, 400


@torch.no_grad()
def draw(
    model: Any, name: str, folder: Path, stem: str, samples: Tensor | None, data: Data, split: str
) -> list[Picture]:
    """The pictures that a model allows, as files `pictures/STEM-WHAT.png` in a folder.

    Args:
        samples: draws of the model, in its own form.
        data: of the model's own form.
    """
    spec, found = model.spec, []
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)

    def add(what: Any, images: Tensor, columns: int, caption: str) -> None:
        path = pictures / f"{stem}-{what}.png"
        save_tiles(images, spec, columns, path)
        found.append(Picture(model=name, what=what, file=f"pictures/{path.name}", caption=caption))

    if not spec.is_image:
        if samples is not None:
            path = pictures / f"{stem}-samples.png"
            draw_examples(samples[:1000], spec, path, name)
            found.append(Picture(model=name, what="samples", file=f"pictures/{path.name}", caption="samples"))
        return found
    if samples is not None:
        add("samples", samples[: _COLUMNS * 6], _COLUMNS, "samples x ~ p(x)")
        train = torch.cat(list(examples(data.split("train"))))
        shown = samples[:_COLUMNS]
        rows = nearest(shown, train)[1]
        caption = "samples, each above the training example that is nearest to it"
        add("nearest", torch.cat([shown, train[rows]]), _COLUMNS, caption)
    if isinstance(model, Autoencoder):
        held = data.split(split)  # pyright: ignore[reportArgumentType]
        batch = held.batch(torch.arange(min(3 * _COLUMNS, len(held))))
        try:
            _reconstructions(model, batch, split, add)
            _between(model, batch, split, add)
        except UserError:  # codes that are not made to be decoded
            return found
    return found


def draw_data(data: Data, folder: Path, split: str) -> list[Picture]:
    """The examples that figures are of, for the eye to compare with."""
    if not data.spec.is_image:
        return []
    held = data.split(split)  # pyright: ignore[reportArgumentType]
    x = held.batch(torch.arange(min(_COLUMNS * 6, len(held)))).x
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    save_tiles(x, data.spec, _COLUMNS, folder / "pictures" / "data.png")
    return [Picture(model="", what="data", file="pictures/data.png", caption=f"{split} examples")]


def _reconstructions(model: Autoencoder, batch: Batch, split: str, add: Any) -> None:
    rows = []
    for start in range(0, len(batch), _COLUMNS):
        part = batch.take(torch.arange(start, min(start + _COLUMNS, len(batch))))
        if len(part) == _COLUMNS:
            rows += [part.x, model.reconstruct(part.x, part.y if model.conditional else None)]
    if rows:
        add("reconstructions", torch.cat(rows), _COLUMNS, f"{split} examples, each row above its reconstructions")


def _between(model: Autoencoder, batch: Batch, split: str, add: Any) -> None:
    """decode((1 - t) z_a + t z_b), between examples of one label where the model is told it."""
    pairs = _pairs(batch, model.conditional)
    rows = []
    for a, b in pairs:
        ends = batch.take(torch.tensor([a, b]))
        y = ends.y if model.conditional else None
        z = model.encode(ends.x, y)
        if not z.is_floating_point():
            return
        t = torch.linspace(0, 1, _STEPS, dtype=z.dtype).view(-1, *[1] * (z.ndim - 1))
        along = model.decode(torch.lerp(z[:1], z[1:], t), None if y is None else y[:1].expand(_STEPS, *y.shape[1:]))
        rows.append(torch.cat([ends.x[:1], along, ends.x[1:]]))
    if rows:
        caption = f"between two {split} examples, which stand at both ends: decode((1 - t) z_a + t z_b)"
        add("interpolation", torch.cat(rows), _STEPS + 2, caption)


def _pairs(batch: Batch, conditional: bool) -> list[tuple[int, int]]:
    n = min(len(batch), 3 * _COLUMNS)
    if not conditional or batch.y is None:
        return [(i, i + 1) for i in range(0, min(n - 1, 8), 2)]
    found = []
    for a in range(n):
        other = next((b for b in range(a + 1, n) if torch.equal(batch.y[a], batch.y[b])), None)
        if other is not None and len(found) < 4:
            found.append((a, other))
    return found


def save_tiles(images: Tensor, spec: DataSpec, columns: int, path: Path) -> None:
    """A grid of images as a PNG, each pixel as large as makes the picture easy to see.

    Raises:
        RunError: the file cannot be written.
    """
    picture = (tile(images.cpu(), spec, columns) * 255).round().astype(np.uint8)
    scale = max(1, _SIDE // picture.shape[1])
    picture = picture.repeat(scale, 0).repeat(scale, 1)
    image = Image.fromarray(picture)
    if spec.shape[0] < 3:
        image = image.convert("L")
    try:
        image.save(path, optimize=True)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from error
