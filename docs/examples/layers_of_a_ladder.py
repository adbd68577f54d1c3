"""Draws docs/images/hierarchical.png: what stays of an image where only its upper layers are kept.

python docs/examples/layers_of_a_ladder.py [FILE]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from PIL import Image
from torch.nn.functional import pad

import variata

ROWS, DRAWS = 6, 3


def main(file: Path) -> None:
    torch.set_num_threads(1)  # small tensors on several threads take longer
    with tempfile.TemporaryDirectory() as folder:
        run = variata.train("ladder_vae", {"train.epochs": 200, "loss.beta.epochs": 50}, run=Path(folder) / "run")
    model = run.model.eval()
    x = run.data.split("test").batch(torch.arange(ROWS)).x
    torch.manual_seed(0)
    with torch.no_grad():
        code = model.encode(x)
        top, middle, _ = (event.numel() for event in model.events)
        columns = {"x": [x], "all layers": [model.decode(code)]}
        for kept, name in ((top + middle, "upper two kept"), (top, "top one kept"), (0, "none")):
            columns[name] = [model.decode(_drawn_below(code, kept)) for _ in range(DRAWS)]
    sizes = [len(images) for images in columns.values()]
    figure, axes = plt.subplots(1, len(columns), figsize=(7, 3.9), layout="constrained", width_ratios=sizes)
    for axis, (name, images) in zip(axes, columns.items(), strict=True):
        picture = torch.stack([pad(image[:, 0], (1, 1, 1, 1)) for image in images], dim=1)  # [rows, draws, ...]
        axis.imshow(picture.permute(0, 2, 1, 3).flatten(0, 1).flatten(1), cmap="Greys", vmin=0, vmax=1)
        axis.set_title(name, fontsize=9)
        axis.axis("off")
    figure.savefig(file, dpi=90)
    Image.open(file).quantize(32).save(file, optimize=True)


def _drawn_below(code: torch.Tensor, kept: int) -> torch.Tensor:
    """The first dimensions of a code; for the others, draws from their prior, N(0, I) in these coordinates."""
    return torch.cat([code[:, :kept], torch.randn_like(code[:, kept:])], dim=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "images" / "hierarchical.png")
