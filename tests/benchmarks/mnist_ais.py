"""A second estimate of the NLL of the VAE of `mnist_vae.py`: annealed in the latent space on 100 test images of MNIST,
beside 5,000 importance samples on the same images, and bounded from both sides on 50 images that the model made.

    VARIATA_DATA=... python tests/benchmarks/mnist_ais.py            about 2 minutes of one core
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import records
import torch

import variata
from variata import EvaluationSettings
from variata.evaluation import measure
from variata_plugins.metrics.ais import LatentAIS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 100])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = {"data.use": "mnist", "data.binarize": "dynamic", "seed": arguments.seed}
    seen = {}
    with tempfile.TemporaryDirectory() as folder:
        run = variata.train("vae", settings, run=Path(folder) / "run")
        for steps in arguments.steps:
            metric, evaluation = LatentAIS(steps=steps), EvaluationSettings(samples=5000, seed=arguments.seed)
            start = time.process_time()
            found = measure(run.model, run.data, [metric], evaluation)
            seconds = round(time.process_time() - start, 1)
            seen[str(steps)] = {"nll": found["nll[ais]"], "gap": found["ais_gap"], "cpu_seconds": seconds}
    records.write("mnist_ais", {"seed": arguments.seed, "by_steps": seen})


if __name__ == "__main__":
    main()
