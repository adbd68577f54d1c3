"""Restricted Boltzmann machines on dynamically binarised MNIST: log-likelihood of all 10,000 test images.

Bars, in nats: 20 hidden units, CD-1, 10 epochs: exact >= -170. 20 hidden units, PCD-1, 20 epochs: exact >= -146, and
annealing by 5,000 steps within 0.2 of the exact log Z. 500 hidden units, PCD-1, 10 epochs: annealed >= -102.

    VARIATA_DATA=... python tests/benchmarks/rbm.py                  about 5 minutes
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
from variata.annealing import anneal, even_schedule


def trained(preset: str, hidden: int, epochs: int, rate: float, seed: int) -> tuple[variata.Run, dict[str, Any]]:
    """A run without its pictures' long chains, and what is recorded of its training."""
    settings = {
        "data.use": "mnist",
        "data.binarize": "dynamic",
        "model.hidden": hidden,
        "model.burn_in": 0,
        "train.epochs": epochs,
        "train.optimizer.lr.from": rate,
        "train.optimizer.momentum": 0.0,
        "seed": seed,
    }
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = variata.train(preset, settings, run=Path(folder) / "run")
    seconds = time.process_time() - start
    return run, {"preset": preset, "hidden": hidden, "epochs": epochs, "lr": rate, "cpu_seconds": round(seconds, 1)}


def likelihood(run: variata.Run, seed: int, **settings: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        run.path = Path(folder)
        found = variata.evaluate(run, seed=seed, batch_size=1000, **settings)
    wanted = ("value", "standard_error", "monte_carlo_error", "kind", "effective_samples", "ais_steps", "ais_chains")
    return {
        name: {key: rounded(found[name][key]) for key in wanted if found[name].get(key) is not None}
        for name in ("log_likelihood", "log_partition", "annealing_gap")
        if name in found
    }


def rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


def annealed(model: Any, seed: int, steps: int, chains: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    found = anneal(model, even_schedule(steps), chains)
    return {"log_partition": rounded(found.value), "monte_carlo_error": rounded(found.error), "chains": chains}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ais-steps", type=int, default=20_000, help="of the machine with 500 hidden units")
    arguments = parser.parse_args()
    seed = arguments.seed
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"seed": seed}

    run, cd = trained("rbm", 20, 10, 0.03, seed)
    figures["cd_20"] = cd | likelihood(run, seed)

    run, pcd = trained("rbm_pcd", 20, 20, 0.05, seed)
    pcd |= likelihood(run, seed)
    exact = pcd["log_partition"]["value"]
    pcd["annealed"] = {str(steps): annealed(run.model, seed, steps, 500) for steps in (500, 5000)}
    pcd["annealed_minus_exact"] = rounded(pcd["annealed"]["5000"]["log_partition"] - exact)
    figures["pcd_20"] = pcd

    run, large = trained("rbm_pcd", 500, 10, 0.05, seed)
    figures["pcd_500"] = large | likelihood(run, seed, ais_steps=arguments.ais_steps)

    figures["bars"] = {"cd_20": -170.0, "pcd_20": -146.0, "annealed_minus_exact": 0.2, "pcd_500": -102.0}
    records.write("rbm", figures)


if __name__ == "__main__":
    main()
