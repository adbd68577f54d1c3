"""How good is p(x): importance-sampled NLL of the VAE of `mnist_vae.py` on all 10,000 test images of MNIST.

Bars: NLL by 5,000 samples <= 98.0 nats; 500 samples within 60 s of two cores.

    VARIATA_DATA=... python tests/benchmarks/mnist_nll.py            about 12 minutes
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import records
import torch

import variata


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = {"data.use": "mnist", "data.binarize": "dynamic", "seed": arguments.seed}
    with tempfile.TemporaryDirectory() as folder:
        run = variata.train("vae", settings, run=Path(folder) / "run")
        run.data.split("test")
        start = time.perf_counter()
        first = variata.evaluate(run, samples=500)
        seconds = time.perf_counter() - start
        found = variata.evaluate(run, samples=5000)
    names = ("elbo", "nll", "gap", "effective_samples", "bits_per_dim", "active_units", "mutual_information")
    records.write(
        "mnist_nll",
        {
            "seed": arguments.seed,
            "estimates": {name: {k: v for k, v in found[name].items() if k != "measure"} for name in names},
            "nll_of_500_samples": first["nll"]["value"],
            "seconds_of_500_samples": round(seconds, 1),
            "bars": {"nll": 98.0, "seconds_of_500_samples": 60.0},
        },
    )


if __name__ == "__main__":
    main()
