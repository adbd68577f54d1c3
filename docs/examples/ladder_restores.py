"""Draws docs/images/ladder.png: digits, the same with the noise of training, and what a ladder network restores.

python docs/examples/ladder_restores.py [FILE]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import variata

SHOWN = 16


def main(file: Path) -> None:
    torch.set_num_threads(1)  # small tensors on several threads take longer
    assembly = variata.build("ladder")
    with tempfile.TemporaryDirectory() as folder:
        run = variata.train_assembly(assembly, run=Path(folder) / "run")
        error = variata.evaluate(run)["error"]
    model, loss = assembly.model, assembly.loss
    x = run.data.split("test").batch(torch.arange(200)).x
    torch.manual_seed(0)
    with torch.no_grad():
        noisy, _ = model.paths([x, x], [loss.noise, 0.0])
        rows = [x, noisy.z[0], loss.decoder(noisy)[0]]
    figure, axes = plt.subplots(3, SHOWN, figsize=(8, 1.9), layout="constrained")
    for images, name, places in zip(rows, ("digit", "with noise", "restored"), axes, strict=True):
        for image, place in zip(images.reshape(-1, *x.shape[2:]), places, strict=False):
            place.imshow(image, cmap="gray_r", vmin=0, vmax=1)
            place.set(xticks=[], yticks=[])
        places[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    figure.savefig(file, dpi=100)
    print(f"{file}: 100 labels, test error {100 * error['value']:.1f} +- {100 * error['standard_error']:.1f} %")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images/ladder.png"))
