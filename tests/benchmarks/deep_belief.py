"""A deep belief network of two layers on dynamically binarised MNIST, 784-500-784: the bound on the log-likelihood of
all 10,000 test images, beside the annealed log-likelihood of its first layer alone.

The second layer starts as the first turned over, where the bound is the first layer's log-likelihood. Bar: the bound
is no more than 0.5 nats below that.

    VARIATA_DATA=... python tests/benchmarks/deep_belief.py            about 6 minutes
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
from variata import Data, EvaluationSettings, LogPartition
from variata_plugins.rbm.model import RBM

HIDDEN, EPOCHS, AIS_STEPS, SAMPLES = (500, 784), 10, 5000, 10


@torch.no_grad()
def alone(machine: RBM, data: Data, seed: int) -> dict[str, Any]:
    """Log-likelihood of the first layer as a model by itself."""
    torch.manual_seed(seed)
    partition = LogPartition(machine, EvaluationSettings(ais_steps=AIS_STEPS))
    energies = torch.cat([machine.free_energy(batch.x) for batch in data.split("test").batches(1000)])
    value = float(-energies.double().mean()) - partition.value
    return {"log_likelihood": round(value, 3), "monte_carlo_error": round(partition.error, 3), "kind": partition.kind}


def read(figure: dict[str, Any]) -> dict[str, Any]:
    wanted = ("value", "standard_error", "monte_carlo_error", "kind", "effective_samples")
    found = {key: figure[key] for key in wanted if figure.get(key) is not None}
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    torch.set_num_threads(1)
    settings = {
        "data.use": "mnist",
        "data.binarize": "dynamic",
        "model.hidden": list(HIDDEN),
        "model.burn_in": 0,
        "train.epochs": EPOCHS * len(HIDDEN),
        "train.validate_every": 1000,
        "train.optimizer.lr.from": 0.05,
        "train.optimizer.momentum": 0.0,
        "seed": seed,
    }
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = variata.train("deep_belief_network", settings, run=Path(folder) / "run")
        trained = round(time.process_time() - start, 1)
        first = alone(run.model.machines[0], run.data, seed)
        found = variata.evaluate(
            run, seed=seed, samples=SAMPLES, ais_steps=AIS_STEPS, metrics=["deep_belief_bound"], batch_size=1000
        )
    figures = {name: read(found[name]) for name in ("elbo", "nll", "log_partition", "annealing_gap")}
    budget = {"hidden": HIDDEN, "epochs_of_each_layer": EPOCHS, "cpu_seconds_of_training": trained}
    annealed = {"ais_steps": AIS_STEPS, "ais_chains": 100, "samples_of_q": SAMPLES}
    above = round(found["elbo"]["value"] - first["log_likelihood"], 3)
    record = {"seed": seed} | budget | annealed | {"first_layer_alone": first} | figures
    records.write("deep_belief", record | {"bound_above_first_layer": above, "bar": -0.5})


if __name__ == "__main__":
    main()
