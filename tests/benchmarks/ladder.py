"""Ladder networks on grey MNIST with few labels: error on all 10,000 test images.

Bars: 784-500-250-10, 5 epochs: error <= 7% with 100 labels, and at most half of that of the same network trained on the
labels alone, under the same noise; <= 4.5% with 1000 labels. 784-1000-500-250-250-250-10, 100 labels, in 20 minutes of
CPU time: <= 3.0%.

The multipliers and the noise are the published ones for 100 labels. The learning rate was chosen on 10,000 validation
images (4e-3 and 2e-3 were tried, with 500-250 and 100 labels); then all 60,000 training images take part.

    VARIATA_DATA=... python tests/benchmarks/ladder.py                 about 5 minutes
    VARIATA_DATA=... python tests/benchmarks/ladder.py --which full --threads 2    about 5 minutes
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import records
import torch

import variata

SMALL, FULL = [500, 250], [1000, 500, 250, 250, 250]


def seen(seed: int, labels: int, hidden: list[int], epochs: int, multipliers: list[float] | None) -> dict[str, Any]:
    """A run and what is recorded of it, without pictures."""
    settings: dict[str, Any] = {
        "data": {"use": "mnist", "labels": labels},
        "model.network.hidden": hidden,
        "loss.multipliers": multipliers,
        "train.epochs": epochs,
        "train.optimizer.lr.from": 4e-3,
        "seed": seed,
    }
    assembly = variata.build("ladder", settings)
    assert assembly.data is not None
    assembly.data.split("train")
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        run = variata.train_assembly(assembly, run=Path(folder) / "run")
        seconds = time.process_time() - start
        found = variata.evaluate(run)
    kept = {
        name: {k: round(found[name][k], 4) for k in ("value", "standard_error")} for name in ("error", "cross_entropy")
    }
    return {"labels": labels, "hidden": hidden, "epochs": epochs, "cpu_seconds": round(seconds, 1)} | kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--which", choices=["small", "full"], default="small")
    parser.add_argument("--epochs", type=int, help="5, and 6 of the full network")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    os.environ["VARIATA_PLUGINS_OFF"] = "pictures"
    torch.set_num_threads(arguments.threads)
    figures: dict[str, Any] = {"seed": arguments.seed}
    if arguments.which == "full":
        figures["ladder_100"] = seen(arguments.seed, 100, FULL, arguments.epochs or 6, None)
        figures["bars"] = {"ladder_100": 0.03, "cpu_seconds": 1200}
        records.write("ladder_full", figures)
        return
    epochs = arguments.epochs or 5
    figures["supervised_100"] = seen(arguments.seed, 100, SMALL, epochs, [0.0] * 4)
    for labels in (100, 1000):
        figures[f"ladder_{labels}"] = seen(arguments.seed, labels, SMALL, epochs, None)
    figures["bars"] = {"ladder_100": 0.07, "of_supervised_100": 0.5, "ladder_1000": 0.045}
    records.write("ladder", figures)


if __name__ == "__main__":
    main()
