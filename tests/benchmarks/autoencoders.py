"""Autoencoders on grey MNIST: mean squared error for each pixel, on all 10,000 test images.

Bars: a linear one with 32 codes within 1% of 32 principal components (computed here); 784-512-256-32 <= 0.0105; the
denoising one on images of which half the pixels are hidden <= 0.018. The Frechet distance of samples by a normal
density of the codes and by a mixture is recorded beside them, whatever it is.

    VARIATA_DATA=... python tests/benchmarks/autoencoders.py                      about 6 minutes
    VARIATA_DATA=... python tests/benchmarks/autoencoders.py --split validation   how the settings were chosen
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
from variata_plugins.autoencoder.ex_post import ExPostGaussian

RATE = {"use": "linear", "from": 2e-3, "to": 1e-5}
HELD_OUT = {"test": 0, "validation": 10_000}


def trained(preset: str, split: str, seed: int, epochs: int, **more: Any) -> tuple[variata.Run, dict[str, Any]]:
    """A run without pictures, and what is recorded of its training."""
    settings = {
        "data": {"use": "mnist", "validation": HELD_OUT[split]},
        "train.epochs": epochs,
        "train.validate_every": epochs,
        "train.optimizer.lr": RATE,
        "seed": seed,
        **more,
    }
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = variata.train(preset, settings, run=Path(folder) / "run")
    return run, {"preset": preset, "epochs": epochs, "cpu_seconds": round(time.process_time() - start, 1)}


def measured(run: variata.Run, split: Any, **metrics: Any) -> dict[str, Any]:
    """Figures of these metrics, to six digits, with their standard errors."""
    asked = [{"use": name, **options} for name, options in metrics.items()]
    with tempfile.TemporaryDirectory() as folder:
        run.path = Path(folder)
        found = variata.evaluate(run, split=split, metrics=asked)
    kept = ("reconstruction_mse", "denoising_mse", "corruption_mse", "fid[lenet]")
    return {name: round(found[name]["value"], 6) for name in kept if name in found} | {
        f"{name}_standard_error": float(f"{found[name]['standard_error']:.2g}")
        for name in kept
        if name in found and found[name]["standard_error"] is not None
    }


def pca_error(data: variata.Data, split: Any, components: int) -> float:
    """Mean squared error of the split for each pixel, by the principal components of the training images."""

    def images(name: Any) -> torch.Tensor:
        return torch.cat([batch.x.flatten(1) for batch in data.split(name).batches(10_000)]).double()

    x, other = images("train"), images(split)
    mean = x.mean(0)
    basis = torch.linalg.eigh((x - mean).T @ (x - mean)).eigenvectors[:, -components:]
    rest = (other - mean) - (other - mean) @ basis @ basis.T
    return float(rest.square().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=list(HELD_OUT), default="test")
    parser.add_argument("--which", choices=["linear", "deep", "denoising"], nargs="+", default=None)
    arguments = parser.parse_args()
    seed, split = arguments.seed, arguments.split
    which = arguments.which or ["linear", "deep", "denoising"]
    os.environ["VARIATA_PLUGINS_OFF"] = "pictures"
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"seed": seed, "split": split, "lr": RATE}

    if "linear" in which:
        run, linear = trained("linear_autoencoder", split, seed, 15, **{"model.latent": 32})
        linear |= measured(run, split, reconstruction_error={})
        linear["pca_mse"] = round(pca_error(run.data, split, 32), 6)
        linear["ratio"] = round(linear["reconstruction_mse"] / linear["pca_mse"], 4)
        figures["linear_32"] = linear

    if "deep" in which:
        run, deep = trained("autoencoder_gmm", split, seed, 12, **{"model.latent": 32})
        deep |= measured(run, split, reconstruction_error={})
        deep["mixture_of_10"] = measured(run, split, fid={})
        run.model.prior = ExPostGaussian(run.data.spec, 32, None)
        run.model.prior.finish(run.model, list(run.data.split("train").batches(1000)))
        deep["normal_density"] = measured(run, split, fid={})
        figures["deep_32"] = deep

    if "denoising" in which:
        run, denoising = trained("denoising_autoencoder", split, seed, 12, **{"model.latent": 32})
        figures["denoising_32"] = denoising | measured(run, split, denoising_error={}, reconstruction_error={})

    figures["bars"] = {"linear_ratio": 1.01, "deep_mse": 0.0105, "denoising_mse": 0.018}
    if split == "test" and arguments.which is None:
        records.write("autoencoders", figures)
    else:
        print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
