"""The conditional VAE on MNIST, told the label: test -ELBO(x given y) on all 10,000 images after 12 epochs.

Bar: <= 102 nats.

    VARIATA_DATA=... python tests/benchmarks/mnist_cvae.py           about 1 minute
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import records
import torch

import variata


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = {"data.use": "mnist", "data.binarize": "dynamic", "train.epochs": 12, "seed": arguments.seed}
    with tempfile.TemporaryDirectory() as folder:
        run = variata.train("cvae", settings, run=Path(folder) / "run")
        metrics = variata.evaluate(run, samples=1)
    figures = {
        "seed": arguments.seed,
        "negative_elbo": round(-metrics["elbo"]["value"], 3),
        "standard_error": round(metrics["elbo"]["standard_error"], 3),
        "kl": round(metrics["kl"]["value"], 3),
        "bars": {"negative_elbo": 102.0},
    }
    records.write("mnist_cvae", figures)


if __name__ == "__main__":
    main()
