"""Draws docs/images/priors.png: the density of four priors over two latent dimensions, with the codes of the digits.

python docs/examples/priors_in_the_plane.py [FILE]
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from PIL import Image

import variata

PRIORS: dict[str, dict[str, Any]] = {
    "standard_normal": {"use": "standard_normal"},
    "gaussian_mixture": {"use": "gaussian_mixture", "components": 10},
    "vamp": {"use": "vamp", "components": 50},
    "flow (maf)": {"use": "flow", "flow": {"use": "maf", "hidden": [100]}},
}


def main(file: Path) -> None:
    torch.set_num_threads(1)  # small tensors on several threads take longer
    figure, axes = plt.subplots(1, len(PRIORS), figsize=(10, 2.9), layout="constrained")
    for axis, (name, prior) in zip(axes, PRIORS.items(), strict=True):
        overrides = {"model.latent": 2, "model.prior": prior, "train.epochs": 150}
        with tempfile.TemporaryDirectory() as folder:
            run = variata.train("vae", overrides, run=Path(folder) / "run")
            elbo = variata.evaluate(run, samples=50)["elbo"]["value"]
        batch = run.data.split("train").batch(torch.arange(1000))
        with torch.no_grad():
            codes = run.model.encode(batch.x)
            low, high = codes.min(0).values - 0.5, codes.max(0).values + 0.5
            across, up = (torch.linspace(float(low[i]), float(high[i]), 160) for i in (0, 1))
            points = torch.cartesian_prod(across, up)
            density = run.model.prior().log_prob(points).view(160, 160).T.clamp(min=-9)
        axis.contourf(across, up, density, levels=8, cmap="Greys", vmin=-9, vmax=math.log(2))
        axis.scatter(*codes.T, c=batch.y, cmap="tab10", s=2)
        axis.set_title(f"{name}\ntest -ELBO {-elbo:.1f} nats", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.savefig(file, dpi=72)
    Image.open(file).quantize(64).save(file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "images" / "priors.png")
