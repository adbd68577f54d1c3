"""Imputation of scikit-learn's tables with a fifth of their values hidden, numbers and a column of classes together, by
the preset `table_miwae` as it is: error on the hidden values of the test rows, beside that of the column's mean (and
most frequent level) and of five nearest neighbours. The diabetes table has a number for a target, and sex.

    python tests/benchmarks/tables.py                                     about a minute
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

SETS = ("wine", "breast_cancer", "diabetes", "iris")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name in SETS:
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            run = variata.train("table_miwae", {"data.name": name, "seed": arguments.seed}, run=Path(folder) / "run")
            seconds = time.process_time() - start
            seen = variata.evaluate(run, samples=100, metrics=["imputation"])
        kept = {key: figure for key, figure in seen.items() if key.startswith("imputation")}
        wanted = ("value", "standard_error", "values")
        figures = {key: {k: figure[k] for k in wanted if k in figure} for key, figure in kept.items()}
        found[name] = figures | {"cpu_seconds": round(seconds, 1)}
        print(name, {key: figure["value"] for key, figure in kept.items()}, flush=True)
    records.write("tables", {"seed": arguments.seed, "hidden": 0.2, "sets": found})


if __name__ == "__main__":
    main()
