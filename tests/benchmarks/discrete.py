"""VAEs whose codes are classes, on binarised MNIST: 20 variables of 10 classes, one-hot and relaxed.

Test -ELBO, and NLL by 100 importance samples, of 2,000 test images; each of its own model, so that neither is a figure
of the other. No bar is published for these networks.

    VARIATA_DATA=... python tests/benchmarks/discrete.py                  about 3 minutes
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import records
import torch

import variata
from variata import Data, DataSpec, Split

EXAMPLES, SAMPLES = 2000, 100


class First(Data):
    """A data set of which only the first test examples are there."""

    def __init__(self, data: Data, examples: int) -> None:
        self.data, self.examples = data, examples
        self.spec: DataSpec = data.spec

    def split(self, name: Any) -> Split:
        split = self.data.split(name)
        if name != "test":
            return split
        return Split(split.x[: self.examples], split.y[: self.examples], split.transform)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Any] = vars(arguments) | {"examples": EXAMPLES, "samples": SAMPLES}
    for preset in ("categorical_latent_vae", "concrete_vae"):
        settings = {
            "data": {"use": "mnist", "binarize": "dynamic"},
            "train.epochs": arguments.epochs,
            "seed": arguments.seed,
        }
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            run = variata.train(preset, settings, run=Path(folder) / "run")
            seconds = time.process_time() - start
            part = variata.Run(run.path, run.spec, run.model, run.status, First(run.data, EXAMPLES))
            found = variata.evaluate(part, samples=SAMPLES)
        names = ("elbo", "kl", "nll")
        seen = {name: {key: round(found[name][key], 3) for key in ("value", "standard_error")} for name in names}
        figures[preset] = seen | {"cpu_seconds": round(seconds, 1)}
        print(preset, figures[preset], flush=True)
    records.write("discrete", figures)


if __name__ == "__main__":
    main()
