"""Draws globe.png: the mean directions of q(z | x) of the digits on S^2, spread out as a map of the world is.

python examples/globe.py [FILE]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image

import variata


def main(file: Path) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = variata.train("hyperspherical_vae", {"model.latent": 3, "train.epochs": 150}, run=Path(folder) / "run")
    split = run.data.split("train")
    batch = split.batch(torch.arange(len(split)))
    with torch.no_grad():
        q = run.model.encoder(batch.x)
    x, y, z = q.mode.unbind(-1)
    figure = Figure(figsize=(7, 3.6), layout="constrained", dpi=90)
    axes = figure.add_subplot(projection="mollweide")
    sizes = 4 + 12 * (q.concentration / q.concentration.max())
    east, north = torch.atan2(y, x), torch.asin(z.clamp(-1, 1))
    drawn = axes.scatter(east, north, c=batch.y, s=sizes, linewidths=0, cmap="tab10", vmin=-0.5, vmax=9.5)
    axes.set(xticks=[], yticks=[])
    axes.grid(alpha=0.3)
    figure.colorbar(drawn, ax=axes, ticks=range(10), label="digit")
    figure.savefig(file)
    Image.open(file).convert("P", palette=Image.Palette.ADAPTIVE, colors=32).save(file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "globe.png"))
