"""IWAE beside the VAE on dynamically binarised MNIST: importance-sampled NLL of all 10,000 test images.

The IWAE has 5 samples, networks 784-200-200-50 with tanh, learning rate 2e-3 along a cosine, 18 epochs. Beside it, the
same model trained by the ELBO for as many epochs, and for as much CPU time; no order of the three is required. Bar: the
IWAE's NLL by 5,000 samples (`--samples 5000`) <= 95 nats; by 500 it is above that on average.

    VARIATA_DATA=... python tests/benchmarks/bounds.py               about 10 minutes of one core; 60 with 5,000 samples
"""

from __future__ import annotations

import argparse
from typing import Any

import on_mnist
import records
import torch


def seen(preset: str, epochs: int, seed: int, samples: int) -> dict[str, Any]:
    """Trains on MNIST and evaluates on its test images."""
    settings = {"train.epochs": epochs, "train.optimizer.lr.from": 2e-3, "seed": seed}
    found, seconds = on_mnist.seen(preset, settings, samples)
    figures = on_mnist.chosen(found, ("nll", "elbo", "gap", "effective_samples", "active_units"))
    print(preset, epochs, figures, flush=True)
    return {"preset": preset, "epochs": epochs, "cpu_seconds": seconds["train"], **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--samples", type=int, default=500)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    seed, samples, epochs = arguments.seed, arguments.samples, arguments.epochs
    figures: dict[str, Any] = {"seed": seed}
    figures["iwae_5"] = seen("iwae", epochs, seed, samples)
    figures["vae_equal_epochs"] = seen("vae", epochs, seed, samples)
    ratio = figures["iwae_5"]["cpu_seconds"] / figures["vae_equal_epochs"]["cpu_seconds"]
    figures["vae_equal_time"] = seen("vae", round(epochs * ratio), seed, samples)
    figures["bars"] = {"iwae_5": 95.0}
    records.write("bounds", figures)


if __name__ == "__main__":
    main()
