"""An autoencoder with a mixture, a VAE and a WGAN-GP on grey MNIST, side by side: FID[lenet] of 10,000 samples of each
against the 10,000 test images, by one extractor. No bar: the table is recorded whatever it says.

Each is fully connected and has about a minute of one core. The VAE gives a law of the 256 levels of each pixel, so
that its samples are draws of it, with their noise; the distance of its means, which are smoother than what it says, is
recorded apart. No order of the three follows for other networks or longer training.

    VARIATA_DATA=... python tests/benchmarks/fid_of_three.py                      about 4 minutes
    VARIATA_DATA=... python tests/benchmarks/fid_of_three.py --split validation   against held-out training images
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import records
import torch

import variata

EPOCHS = {"autoencoder_gmm": 8, "grey_vae": 12, "wgan_gp": 14}
SETTINGS: dict[str, dict[str, Any]] = {
    "autoencoder_gmm": {"train.optimizer.lr": {"use": "cosine", "from": 2e-3, "to": 0.0}},
    "grey_vae": {"train.optimizer.lr": {"use": "cosine", "from": 2e-3, "to": 0.0}},
    "wgan_gp": {
        "model.latent": 32,
        "model.generator": {"use": "mlp", "hidden": [256, 512], "activation": "relu", "norm": "batch"},
        "loss.critic": {"use": "mlp", "hidden": [256, 256], "activation": "leaky_relu"},
        "loss.critic_steps": 3,
        "loss.penalty.weight": 10.0,
        "train.batch_size": 100,
        "train.optimizer.lr": {"use": "cosine", "from": 1e-3, "to": 1e-5},
    },
}
HELD_OUT = {"test": 0, "validation": 10_000}


def measured(preset: str, split: Any, seed: int) -> dict[str, Any]:
    """Trains a preset, and compares what it draws with the split."""
    epochs = EPOCHS[preset]
    settings = {"data": {"use": "mnist", "validation": HELD_OUT[split]}, "seed": seed, "train.epochs": epochs}
    settings |= {"train.validate_every": epochs} | SETTINGS[preset]
    metrics: list[Any] = [{"use": "fid", "samples": 10_000}]
    if preset == "grey_vae":
        metrics.append({"use": "fid", "samples": 10_000, "mean": True})
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = variata.train(preset, settings, run=Path(folder) / "run")
        seconds = time.process_time() - start
        found = variata.evaluate(run, split=split, samples=1, seed=seed, metrics=metrics)
    figures = {"epochs": epochs, "cpu_seconds": round(seconds, 1), "settings": SETTINGS[preset]}
    for name in ("fid[lenet]", "fid[lenet,mean]"):
        if name in found:
            kept = ("value", "draws", "examples", "samples", "of_training_examples", "extractor_accuracy")
            figures[name] = {
                key: round(value, 4) if isinstance(value, float) else value
                for key, value in found[name].items()
                if key in kept
            }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=list(HELD_OUT), default="test")
    parser.add_argument("--which", choices=list(SETTINGS), nargs="+", default=list(SETTINGS))
    arguments = parser.parse_args()
    os.environ["VARIATA_PLUGINS_OFF"] = "pictures"
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"seed": arguments.seed, "split": arguments.split}
    for preset in arguments.which:
        figures[preset] = seen = measured(preset, arguments.split, arguments.seed)
        values = {name: seen[name]["value"] for name in seen if name.startswith("fid")}
        print(f"{preset:16s} {values}  {seen['cpu_seconds']} s", flush=True)
    if arguments.split == "test" and arguments.which == list(SETTINGS):
        records.write("fid_of_three", figures)
    else:
        print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
